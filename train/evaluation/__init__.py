"""What a checkpoint predicts and how good it is: metrics, calibration, breakdowns, significance, results."""
