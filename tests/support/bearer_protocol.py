"""The sub-protocol by which a page shows its token, as feed.js and capture_page/socket.js make it."""

from __future__ import annotations

import base64


def bearer_protocol(token: str) -> str:
    """`bearer.` and the token in base64url without padding."""
    return "bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
