"""Sources of timed sound and pictures."""
