"""Text that XML 1.0 can hold."""

from __future__ import annotations

import re

# XML 1.0, 2.2: all others make a document that no parser reads, however they are written.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def strip_illegal_characters(text: str) -> str:
    """The text with a space for every character that XML 1.0 cannot hold, control characters among them."""
    return _ILLEGAL.sub(" ", text)
