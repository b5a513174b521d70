"""A recorded session in the formats of other programs; `python -m realtime.export` is the way in."""
