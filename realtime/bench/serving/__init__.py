"""Benchmarks of the feed and its page: many clients, kills, damage, a long call in a browser."""
