"""The journal on disk: an append-only event log for each session; `python -m realtime.journal`."""
