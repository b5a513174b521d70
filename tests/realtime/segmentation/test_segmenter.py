"""The segmenter on real speech: boundaries, order, and that nothing which was said is lost."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.conversations import MS, Samples, conversation, described, quiet, segments, spoken, utterances

from core_models.errors import UsageError
from realtime.segmentation.endpointing import Endpointing
from realtime.segmentation.segmenter import Segmenter
from realtime.segmentation.segments import Paused, Rejected, SpeechStarted, Utterance
from realtime.sources.media import SAMPLE_RATE, AudioChunk


@pytest.fixture(scope="module")
def clips(librivox: list[tuple[str, Samples]]) -> list[Samples]:
    return [samples for _, samples in librivox]


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 9_000), min_size=1, max_size=12))
def test_boundaries_do_not_depend_on_chunk_sizes(clips: list[Samples], sizes: list[int]) -> None:
    """However a stream of real speech is chunked, segments are the same to the sample."""
    stream, _ = conversation(clips, [700, 500, 900])
    config = Endpointing(longest_ms=5_000)  # so that cuts are among them
    assert described(segments(stream, config, sizes)) == described(segments(stream, config, [len(stream)]))


def test_every_turn_is_an_utterance_with_its_first_and_last_word(clips: list[Samples]) -> None:
    """Turns half a second and more apart become one utterance each, and no sound of them is left out."""
    stream, turns = conversation(clips, [600, 700, 1_000, 1_500, 2_000])
    found = utterances(segments(stream))
    assert len(found) == len(turns)
    for utterance, (start, end) in zip(found, turns, strict=True):
        assert utterance.samples_start <= start
        assert utterance.samples_start + len(utterance.samples) >= end
        assert abs(utterance.start_ms - start // MS) <= 250
        assert abs(utterance.end_ms - end // MS) <= 150
        at = utterance.samples_start
        np.testing.assert_array_equal(utterance.samples, stream[at : at + len(utterance.samples)])


def test_an_utterance_is_decided_one_hangover_after_its_last_voiced_frame(clips: list[Samples]) -> None:
    """`decided_ms` is media time, so that the dialogue's order does not depend on how fast anything ran."""
    stream, _ = conversation(clips, [600, 1_500])
    for hangover in (200, 400, 700):
        for utterance in utterances(segments(stream, Endpointing(hangover_ms=hangover))):
            assert utterance.decided_ms - utterance.end_ms == hangover


def test_each_start_is_followed_by_its_own_end(clips: list[Samples]) -> None:
    """SpeechStarted and its Utterance or Rejected alternate, and agree on when speech began."""
    stream, _ = conversation(clips, [600, 400, 450, 500, 700, 300])
    found = segments(stream, Endpointing(longest_ms=5_000))
    for started, ended in zip(found[::2], found[1::2], strict=True):
        assert isinstance(started, SpeechStarted)
        assert isinstance(ended, Utterance | Rejected)
        assert started.start_ms == ended.start_ms
        assert started.start_ms < started.decided_ms <= ended.decided_ms


def test_utterances_never_overlap(clips: list[Samples]) -> None:
    """The pre-roll of an utterance stops where the samples of the one before it end."""
    stream, _ = conversation(clips, [500, 260, 300, 320, 350, 420, 450, 500])
    found = utterances(segments(stream, Endpointing(hangover_ms=200, preroll_ms=1_000, cut_search_ms=2_000)))
    assert len(found) > 5
    for before, after in pairwise(found):
        assert before.samples_start + len(before.samples) <= after.samples_start


def test_long_speech_is_cut_and_nothing_of_it_dropped(clips: list[Samples]) -> None:
    """A monologue comes out in pieces no longer than allowed, which joined are the monologue."""
    bounds = [spoken(clip) for clip in clips]
    monologue = np.concatenate([clip[a:b] for clip, (a, b) in zip(clips, bounds, strict=True)])
    stream = np.concatenate([quiet(600), monologue, quiet(1_000)])
    found = utterances(segments(stream, Endpointing(longest_ms=6_000, hangover_ms=1_500)))
    assert [u.cut for u in found] == [True] * (len(found) - 1) + [False]
    assert len(found) >= 4
    assert all(len(u.samples) <= 6_000 * MS for u in found)
    joined = np.concatenate([u.samples for u in found])
    np.testing.assert_array_equal(joined, stream[found[0].samples_start :][: len(joined)])
    assert found[0].samples_start <= 600 * MS
    assert found[-1].samples_start + len(found[-1].samples) >= 600 * MS + len(monologue)


def test_long_speech_is_cut_in_its_quietest_moment(clips: list[Samples]) -> None:
    """Where a speaker pauses shortly before the longest length is reached, the cut falls into that pause."""
    first, last = spoken(clips[0])
    speech = clips[0][first:last]
    pause = 4_500
    stream = np.concatenate([quiet(600), speech[: pause * MS], quiet(200), speech[: 5_000 * MS], quiet(1_000)])
    cut = utterances(segments(stream, Endpointing(longest_ms=6_500)))[0]
    assert cut.cut
    end = cut.samples_start + len(cut.samples)
    assert (600 + pause) * MS <= end <= (600 + pause + 200) * MS


def test_a_click_is_rejected_and_says_why(clips: list[Samples]) -> None:
    """Speech shorter than the shortest is announced as rejected, with the reason."""
    first, _ = spoken(clips[0])
    blip = clips[0][first : first + 350 * MS]
    stream = np.concatenate([quiet(600), blip, quiet(1_000)])
    found = segments(stream, Endpointing(shortest_ms=700))
    assert [type(s) for s in found] == [SpeechStarted, Rejected]
    assert isinstance(found[1], Rejected)
    assert found[1].reason == "too_short"


@pytest.mark.parametrize("gap_ms", [450, 3_000, 36_000_000], ids=["pause", "seconds", "ten hours"])
def test_a_jump_of_the_clock_is_silence(clips: list[Samples], gap_ms: int) -> None:
    """Speech before a gap ends in it, speech after it keeps its place on the media clock."""
    first, last = spoken(clips[1])
    speech = clips[1][first:last]
    after = 600 * MS + len(speech) + gap_ms * MS + 7
    segmenter = Segmenter("s", Endpointing())
    found = segmenter.feed(AudioChunk("s", 0, np.concatenate([quiet(600), speech])))
    found += segmenter.feed(AudioChunk("s", after, np.concatenate([speech, quiet(1_000)])))
    one, two = utterances(found + segmenter.flush())
    assert abs(one.end_ms - (600 * MS + len(speech)) // MS) <= 150
    assert one.decided_ms == one.end_ms + 400
    assert abs(two.start_ms - after // MS) <= 250


def test_a_step_back_of_the_clock_is_refused() -> None:
    """Chunks of a source that overlap are a mistake of the source and do not pass unseen."""
    segmenter = Segmenter("s", Endpointing())
    segmenter.feed(AudioChunk("s", 0, quiet(100)))
    with pytest.raises(ValueError, match="10 samples before"):
        segmenter.feed(AudioChunk("s", 100 * MS - 10, quiet(100)))


def test_flush_closes_the_open_utterance_and_feeding_may_go_on(clips: list[Samples]) -> None:
    """A source that is lost in mid-speech loses none of it, and can come back at once."""
    first, last = spoken(clips[1])
    speech = clips[1][first:last]
    segmenter = Segmenter("s", Endpointing())
    stream = np.concatenate([quiet(600), speech[:-5]])
    end = len(stream)
    segmenter.feed(AudioChunk("s", 0, stream))
    (one,) = utterances(segmenter.flush())
    np.testing.assert_array_equal(one.samples, stream[one.samples_start :])
    assert one.decided_ms == end // MS
    assert segmenter.flush() == []
    found = segmenter.feed(AudioChunk("s", end, np.concatenate([speech, quiet(1_000)])))
    assert len(utterances(found)) == 1


@pytest.mark.parametrize("colour", ["white", "hum"])
def test_steady_noise_does_not_speak_for_long(colour: str) -> None:
    """Steady noise at -30 dBFS, even a hum that webrtcvad takes for a voice, is silence once it is known."""
    time = np.arange(120 * SAMPLE_RATE) / SAMPLE_RATE
    noise = np.random.default_rng(5).standard_normal(len(time))
    if colour == "hum":
        noise = sum((np.sin(2 * np.pi * 50 * k * time + k) / k for k in range(1, 12)), 0.05 * noise)
    noise *= 10 ** (-30 / 20) / np.sqrt((noise**2).mean())
    late = [u for u in utterances(segments(noise.astype(np.float32))) if u.start_ms > 30_000]
    assert late == []


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"aggressiveness": 4}, "aggressiveness"),
        ({"frame_ms": 25}, "frame_ms"),
        ({"postroll_ms": 500}, "postroll_ms"),
        ({"longest_ms": 40_000}, "longest_ms"),
        ({"onset_share": 0.0}, "onset_share"),
        ({"longest_ms": 3_000}, "cut_search_ms"),
    ],
)
def test_settings_that_cannot_work_are_refused(setting: dict[str, float], named: str) -> None:
    """An impossible setting dies at once, in a sentence that names it."""
    with pytest.raises(UsageError, match=named):
        Endpointing(**setting)  # type: ignore[arg-type]


def pauses(stream: Samples, config: Endpointing, ended: bool | None = None) -> tuple[list[Utterance], list[Utterance]]:
    """What lay before each pause, and the utterances, where the words before a pause say `ended`."""
    segmenter = Segmenter("s", config)
    before, found = [], []
    for at in range(0, len(stream), 320):
        for segment in segmenter.feed(AudioChunk("s", at, stream[at : at + 320])):
            if isinstance(segment, Paused):
                so_far = segmenter.so_far()
                assert so_far is not None
                before.append(so_far)
                segmenter.expect(ended)
            found.append(segment)
    return before, utterances(found)


def test_the_last_pause_of_an_utterance_holds_all_of_it(clips: list[Samples]) -> None:
    """Whoever begins to transcribe in the pause transcribes exactly what the utterance will be."""
    stream, _ = conversation(clips, [600, 40, 1_000])
    before, found = pauses(stream, Endpointing())
    assert len(before) > len(found)
    for utterance in found:
        last = [u for u in before if u.samples_start == utterance.samples_start][-1]
        np.testing.assert_array_equal(last.samples, utterance.samples)
        assert last.decided_ms == utterance.decided_ms - 200


@pytest.mark.parametrize(("ended", "waited"), [(True, 300), (None, 400), (False, 800)])
def test_the_hangover_follows_the_words(clips: list[Samples], ended: bool | None, waited: int) -> None:
    """Short after a finished sentence, long after an unfinished one, the usual where words do not tell."""
    stream, _ = conversation(clips, [600, 1_500])
    _, found = pauses(stream, Endpointing(adaptive=True), ended)
    assert found
    assert {u.decided_ms - u.end_ms for u in found} == {waited}


def test_words_count_only_where_the_hangover_is_adaptive(clips: list[Samples]) -> None:
    """Without `adaptive`, whatever the words say, the hangover stays."""
    stream, _ = conversation(clips, [600, 1_500])
    assert {u.decided_ms - u.end_ms for u in pauses(stream, Endpointing(), False)[1]} == {400}
