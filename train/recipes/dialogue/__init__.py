"""`python -m train fit`: the dialogue models SDT and CMATH."""
