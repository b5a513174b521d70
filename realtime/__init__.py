"""The live pipeline: `python -m realtime.listen`."""

__distribution__ = "conversation-emotion-tracker"
