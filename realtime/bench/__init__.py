"""Benchmarks: `python -m realtime.bench`."""
