"""Benchmarks of the models behind one utterance: time of each part, and memory."""
