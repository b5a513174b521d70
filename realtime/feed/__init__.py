"""The WebSocket feed: publisher, server, fan-out, history, HTTP."""
