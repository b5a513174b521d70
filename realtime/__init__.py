"""The live pipeline: `python -m realtime.listen`."""
