"""`python -m train words`: a sentence encoder tuned whole over many corpora in one pass."""
