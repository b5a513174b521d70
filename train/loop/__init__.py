"""The one trainer: schedule, resume, failures, device and precision."""
