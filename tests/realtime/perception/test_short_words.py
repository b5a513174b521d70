"""One-word answers: each word is heard as often as it was said, whatever the number of threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from core_models.assets import model_folder
from core_models.features.audio.whisper import Hypothesis, Whisper
from realtime.bench.speech.short_words import Prompt, read_prompts, words_of
from realtime.perception.transcriber import Transcriber, _repeats_itself, _worth_padding

PROMPTS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
SAID = ("digits/1", "digits/9", "digits/day-1", "digits/tomorrow", "vm-no", "digits/7")


def prompts() -> list[Prompt]:
    if not PROMPTS.is_dir():
        pytest.skip("no prompts here: apt-get install asterisk-core-sounds-en-wav")
    return [prompt for prompt in read_prompts(PROMPTS) if prompt.name in SAID]


@pytest.mark.weights
@pytest.mark.parametrize("size", ["whisper-base", "whisper-tiny.en"])
def test_a_word_is_heard_as_often_as_it_was_said(size: str) -> None:
    """Numbers, a day and a "no", alone and twice: none doubled, none discarded, with one thread as with two."""
    heard = []
    for threads in (1, 2):
        whisper = Whisper(model_folder(size), device="cpu", threads=threads)
        transcriber = Transcriber(whisper, language="en", text_languages={"en"})
        transcripts = [(prompt, transcriber(prompt.samples)) for prompt in prompts()]
        assert [(p.name, t.discarded) for p, t in transcripts if t.discarded] == []
        heard.append([words_of(transcript.text) for _, transcript in transcripts])
        for (prompt, _), words in zip(transcripts, heard[-1], strict=True):
            # A small model may miss one whatever it is given; the short context must not add to that.
            assert words in ([*prompt.words], words_of(whisper.decode_padded(prompt.samples, "en").text)), prompt.name
    assert heard[0] == heard[1]


@pytest.mark.parametrize(
    ("text", "repeats"),
    [("9, 9.", True), ("No, no.", True), ("Come on, come on!", True), ("Seven.", False), ("I do what I do", False)],
)
def test_what_comes_twice_in_a_row_is_noticed(text: str, repeats: bool) -> None:
    """Words that follow themselves, alone or as a phrase, whatever marks stand between."""
    assert _repeats_itself(Hypothesis(text, "en", -0.2, 0.1, (1, 2), True)) is repeats


def test_words_that_are_in_doubt_are_decoded_with_padding() -> None:
    """A repetition, words of low probability and a lone word that would be discarded; clear words and noise are not."""
    clear = Hypothesis("Yes.", "en", -0.3, 0.1, (1, 2), True)
    assert not _worth_padding(clear, 0.8)
    assert _worth_padding(Hypothesis("9, 9.", "en", -0.4, 0.6, (1, 2, 3), True), 0.8)
    assert _worth_padding(Hypothesis("Local.", "en", -1.1, 0.2, (1, 2), True), 0.8)
    assert _worth_padding(Hypothesis("Four.", "en", -0.6, 0.77, (1, 2), True), 0.8)
    assert not _worth_padding(Hypothesis("Thank you.", "en", -1.6, 0.8, (1, 2), True), 0.8)
    assert not _worth_padding(Hypothesis("...", "en", -0.3, 0.8, (1,), True), 0.8)
