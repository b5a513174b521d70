"""The papers' training objectives, one file a paper."""
