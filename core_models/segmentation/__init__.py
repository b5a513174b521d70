"""Who speaks in a stretch of sound, and when: networks over samples. No I/O but weights."""
