"""The WebSocket feed: publisher, server, fan-out, history, HTTP.

What the feed promises: every client gets every event that it asked for, in order and none twice, or a `stream.gap` that
names what is missing and a `snapshot` in its place; a client that does not read costs the others nothing; it listens on
127.0.0.1 and goes beyond that only with a token. README.md in this folder has the limits and their numbers.
"""
