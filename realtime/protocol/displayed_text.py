"""Text from outside (words, names, notes, messages) as it may be shown to a person. No I/O."""

from __future__ import annotations

import re

# C0 and C1 control characters, which terminals obey (a title, a colour, the clipboard), and the marks of direction by
# which a line is made to read otherwise than it stands (Unicode TR 36, "Trojan source").
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def strip_control_characters(text: str) -> str:
    """The text with a space for every character that commands whoever shows it; tabs and new lines stay."""
    return _CONTROL.sub(" ", text)
