"""`python -m train voice`: an ensemble of voice heads, cross-validated by speaker."""
