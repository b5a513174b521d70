"""The Python API: a recording judged in one call, and one's own sound and pictures followed live."""
