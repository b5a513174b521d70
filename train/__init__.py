"""Offline training: `python -m train extract | fit | eval | card`."""

__distribution__ = "conversation-emotion-tracker"
