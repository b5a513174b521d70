"""Benchmarks of speech: when a result comes, whose it is, what is heard, and what is heard where nothing is."""
