"""Words tell whether somebody has finished."""

from __future__ import annotations

import pytest

from realtime.segmentation.end_of_turn import end_of_turn


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("I got the job.", True),
        ("Did you?", True),
        ("No!", True),
        ("I wanted to tell you and", False),
        ("I wanted to tell you and.", False),  # Whisper puts a full stop behind anything
        ("I went to the shop, but...", False),
        ("First of all,", False),
        ("I went home", None),
        ("", None),
    ],
)
def test_a_sentence_is_told_from_its_beginning(text: str, ended: bool | None) -> None:
    """Final punctuation ends a turn, a trailing "and" or comma does not, and else nobody knows."""
    assert end_of_turn(text, "en") is ended


def test_words_of_another_language_are_not_judged_by_english_ones() -> None:
    """ "so" ends a German sentence."""
    assert end_of_turn("Das ist so.", "de") is True
