"""Networks and feature extractors: arrays in, arrays out. Imports neither train nor realtime."""
