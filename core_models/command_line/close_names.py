"""Did you mean: the known name that is closest to a wrong one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# difflib's own default of 0.6 takes `default-smal` for `default-small` but offers nothing for a name of another kind.
_LEAST_SIMILARITY = 0.6


def suggest_name(wrong: str, known: Iterable[str]) -> str:
    """` Did you mean X?`, with a space before it so that it can follow a sentence; empty where nothing is close."""
    found = get_close_matches(wrong, list(known), n=1, cutoff=_LEAST_SIMILARITY)
    return f" Did you mean {found[0]}?" if found else ""
