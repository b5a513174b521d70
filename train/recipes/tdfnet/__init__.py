"""`python -m train tdfnet`: TDFNet, cross-validated fold by fold."""
