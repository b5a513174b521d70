"""Networks and feature extractors: arrays in, arrays out. Imports neither train nor realtime."""

__distribution__ = "conversation-emotion-tracker"
