"""Offline training: `python -m train extract | fit | eval | card`."""
