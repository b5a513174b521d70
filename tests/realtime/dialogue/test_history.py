"""What was said in a dialogue, as each of its speakers remembers it."""

from __future__ import annotations

from core_models.features.text.sentence_encoder import REACH, PastTurn
from realtime.dialogue.history import DialogueHistory


def test_each_turn_is_ones_own_or_anothers() -> None:
    """Turns come oldest first, as far back as the text feature reads."""
    history = DialogueHistory()
    for number in range(REACH + 2):
        history.add_turn("ab"[number % 2], str(number))
    assert history.turns_before("a") == [PastTurn(n % 2 == 0, str(n)) for n in range(2, REACH + 2)]


def test_a_merged_speakers_turns_are_the_persons_own() -> None:
    """Who proved to be one person remembers what was said under either id, and forgets it under either."""
    history = DialogueHistory()
    history.add_turn("speaker1", "one")
    history.add_turn("speaker2", "two")
    history.add_turn("speaker3", "three")
    history.merge_speakers("speaker2", "speaker1")
    assert [turn.own for turn in history.turns_before("speaker1")] == [True, True, False]
    assert set(history.forget_speaker("speaker2")) == {"speaker1", "speaker2"}
    assert [turn.text for turn in history.turns_before("speaker1")] == ["three"]


def test_whoever_opted_out_stays_so_as_the_person_that_they_prove_to_be() -> None:
    """An opt-out holds for every id of the person, until it is taken back."""
    history = DialogueHistory()
    history.set_opted_out("speaker2", True)
    history.merge_speakers("speaker2", "speaker1")
    assert history.has_opted_out("speaker1")
    assert history.has_opted_out("speaker2")
    assert not history.has_opted_out("speaker3")
    history.set_opted_out("speaker1", False)
    assert not history.has_opted_out("speaker2")
