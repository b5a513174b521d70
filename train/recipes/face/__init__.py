"""`python -m train face`: the expression network."""
