"""What is trained, one room a system: `fit.py` is the command, `config.py` its options, `training.py` its step and
validation."""
