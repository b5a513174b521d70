"""The live pipeline's order and bounds, on scripted perceptions (real ones: tests/end_to_end)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from support.scripted_pipeline import THREE, Lockstep, Scripted, Steady, Tape, finals, session, silence, voiced

from core_models.errors import MicrophoneError
from core_models.features.text.sentence_encoder import PastTurn
from realtime.perception.transcriber import Transcript
from realtime.perception.utterance_features import Perception
from realtime.pipeline.session import Session
from realtime.protocol import events
from realtime.segmentation.endpointing import Endpointing
from realtime.segmentation.segments import Utterance
from realtime.sources.media import SAMPLE_RATE, AudioChunk, VideoFrame
from realtime.sources.source import Sink, SourceStatus


def test_utterances_are_judged_in_commit_order_however_long_each_takes() -> None:
    """A slow first utterance does not let a later one overtake it."""
    running, told = session(Tape(THREE), perceiver=Scripted([0.3, 0.0, 0.0]))
    running.run()
    order = [e.start_ms for e in finals(told)]
    assert len(order) == 3
    assert order == sorted(order)


def test_everything_heard_is_judged_before_the_session_ends() -> None:
    """Speech that is still open when the source ends becomes a final too."""
    running, told = session(Tape(np.concatenate([silence(0.5), voiced(1.5)])))
    assert running.run().utterances == 1
    assert finals(told)[0].end_ms >= 1_900


def test_stop_flushes_the_open_utterance() -> None:
    """`stop` in mid-utterance still gives its final."""
    running, told = session(Tape(np.concatenate([silence(0.5), voiced(1.5)]), endless=True))
    threading.Timer(0.5, running.stop, ["terminated"]).start()
    running.run()
    assert running.reason == "terminated"
    assert len(finals(told)) == 1


def test_an_utterance_that_cannot_be_perceived_is_announced_and_the_next_one_judged() -> None:
    """A TrackerError in perception costs one utterance, said as `error` and `utterance.discarded`."""
    running, told = session(Tape(THREE), perceiver=Scripted(fails=True))
    summary = running.run()
    discarded = [e for e in told if isinstance(e, events.UtteranceDiscarded)]
    assert [e.reason for e in discarded] == ["failed"] * 3
    assert sum(isinstance(e, events.Error) and not e.fatal for e in told) == 3
    assert summary.discarded == 3
    assert running.failure is None


def test_a_pipeline_that_breaks_ends_the_session_in_a_sentence() -> None:
    """An unexpected exception becomes one fatal `error`, and `run` returns."""

    class Broken(Scripted):
        def transcribe(self, samples: NDArray[np.float32]) -> Transcript:
            raise RuntimeError("boom")

    running, told = session(Tape(THREE), perceiver=Broken())
    running.run()
    assert running.failure is not None
    assert running.reason == "failed"
    assert [e.fatal for e in told if isinstance(e, events.Error)] == [True]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_session_whose_events_find_no_taker_still_ends() -> None:
    """Neither a source's end nor the pipeline's failure may go unnoticed because nobody could be told."""

    def refuse(event: events.Logged) -> None:
        raise RuntimeError("nobody listens")

    running, _ = session(Tape(THREE))
    running._append = refuse
    running.run()
    assert running.failure is not None


def test_a_source_that_cannot_open_ends_the_run_with_its_own_error() -> None:
    """What `start` raises passes through `run`, and the other sources are stopped."""

    class Dead(Tape):
        def start(self, sink: Sink) -> None:
            raise MicrophoneError("No microphone: plug one in.")

        def stop(self) -> None:
            pass

    running, _ = session(Tape(THREE, "a", endless=True), Dead(THREE, "b"))
    with pytest.raises(MicrophoneError):
        running.run()


def test_two_sources_join_one_dialogue() -> None:
    """Each source is segmented by itself and keeps its speaker."""
    running, told = session(Tape(THREE, "a"), Tape(np.concatenate([silence(1.5), THREE]), "b"))
    running.run()
    assert sorted(e.speaker for e in finals(told)) == ["a"] * 3 + ["b"] * 3


def test_words_are_read_after_what_was_said_before_them() -> None:
    """The text feature gets the past in commit order, each turn as the one who speaks remembers it."""
    perceiver = Scripted()
    running, told = session(Tape(THREE, "a"), Tape(np.concatenate([silence(0.4), THREE]), "b"), perceiver=perceiver)
    running.run()
    order = [e.speaker for e in finals(told)]
    for index, past in enumerate(perceiver.pasts):
        assert past == [PastTurn(speaker == order[index], "words") for speaker in order[:index]]
    assert len(perceiver.pasts) == 6


@pytest.mark.parametrize("speculate", [False, True])
def test_overlapping_utterances_enter_in_the_order_of_their_ends(speculate: bool) -> None:
    """What is delivered and transcribed later, but was decided earlier on the media clock, is judged earlier."""
    a = np.concatenate([silence(0.5), voiced(3.0), silence(0.7), voiced(1.0), silence(1.5)])
    b = np.concatenate([silence(1.0), voiced(2.3), silence(0.7), voiced(0.8), silence(1.9)])
    told: list[events.Logged] = []
    perceiver = Scripted([0.0, 0.2, 0.0, 0.2])
    Session(
        [Lockstep({"a": a, "b": b}, 4)],
        perceiver,  # type: ignore[arg-type]
        Steady(),  # type: ignore[arg-type]
        told.append,
        endpointing=Endpointing(),
        speakers={"a": "anna", "b": "ben"},
        camera_speaker=None,
        lossless=True,
        speculate=speculate,
    ).run()
    assert [e.speaker for e in finals(told)] == ["ben", "anna", "ben", "anna"]
    ends = [u.decided_ms for u in perceiver.heard]
    assert ends == sorted(ends)


def test_what_a_failing_pipeline_leaves_behind_is_discarded() -> None:
    """Every utterance that was announced ends as a final or a discard, also where the pipeline breaks."""

    class Broken(Scripted):
        def transcribe(self, samples: NDArray[np.float32]) -> Transcript:
            if len(self.heard) == 1:
                raise RuntimeError("boom")
            return super().transcribe(samples)

    running, told = session(Tape(THREE), perceiver=Broken())
    summary = running.run()
    announced = {e.utterance_id for e in told if isinstance(e, events.SpeechStarted)}
    ended = [e.utterance_id for e in told if isinstance(e, events.EmotionFinal | events.UtteranceDiscarded)]
    assert len(announced) > 1
    assert sorted(ended) == sorted(announced)
    assert (summary.utterances, summary.discarded) == (1, len(announced) - 1)


def test_the_far_end_in_the_microphone_is_not_counted_twice() -> None:
    """What leaks from one side into the other is discarded with its reason, before it enters the dialogue."""
    told: list[events.Logged] = []
    far = np.concatenate([silence(0.5), voiced(1.5), silence(1.5)])
    own = np.random.default_rng(0).standard_normal(len(far)).astype(np.float32) * 0.001
    near = np.concatenate([0.2 * np.roll(far, 1_600) + own, silence(0.5), 0.3 * voiced(1.0)[::-1], silence(1.0)])
    far = np.concatenate([far, silence(2.5)])
    Session(
        [Lockstep({"system": far, "microphone": near}, 1)],
        Scripted(),  # type: ignore[arg-type]
        Steady(),  # type: ignore[arg-type]
        told.append,
        endpointing=Endpointing(),
        speakers={"microphone": "local", "system": "remote"},
        camera_speaker=None,
        lossless=True,
        far_ends={"microphone": "system"},
    ).run()
    assert [e.speaker for e in finals(told)] == ["remote", "local"]
    (gone,) = [e for e in told if isinstance(e, events.UtteranceDiscarded)]
    assert (gone.source, gone.reason) == ("microphone", "leak")


class Flaky(Tape):
    """A microphone that is unplugged in the middle of its samples, comes back a second later, and goes for good."""

    def _play(self, sink: Sink) -> None:
        half = len(self._samples) // 2
        for start, samples in ((0, self._samples[:half]), (half + SAMPLE_RATE, self._samples[half:])):
            sink.audio(AudioChunk(self.name, start, samples))
            if not start:
                sink.status(SourceStatus(self.name, self.kind, "lost", will_retry=True))
                sink.status(SourceStatus(self.name, self.kind, "opened"))
        sink.status(SourceStatus(self.name, self.kind, "lost"))


def test_a_source_that_is_lost_ends_its_utterance_and_not_the_session() -> None:
    """The open utterance ends where the sound did, what comes later is another one, and the session's end is told."""
    running, told = session(Flaky(np.concatenate([silence(0.5), voiced(3.0), silence(0.5)])))
    running.run()
    first, second = finals(told)
    assert first.end_ms <= 2_000
    assert second.start_ms >= 2_900
    assert running.reason == "lost"


def test_what_nobody_asked_for_is_not_listened_to() -> None:
    """A source that names no speaker is not segmented at all."""
    running, told = session(Tape(THREE, "a"), Tape(THREE, "b"), listened=["a"])
    running.run()
    assert {e.speaker for e in finals(told)} == {"a"}


@pytest.mark.parametrize(("words", "waited"), [("I went and", 800), ("I went.", 300), ("I went", 400)])
@pytest.mark.parametrize("slow", [0.0, 0.05])
def test_the_hangover_follows_what_was_heard_ahead_of_time(words: str, waited: int, slow: float) -> None:
    """With a recording it does so however long the words took, so the same recording gives the same utterances."""

    class Speaking(Scripted):
        def transcribe(self, samples: NDArray[np.float32]) -> Transcript:
            return replace(super().transcribe(samples), text=words)

    perceiver = Speaking([slow] * 20)
    running, _ = session(Tape(THREE), perceiver=perceiver, endpointing=Endpointing(adaptive=True))
    running.run()
    assert [u.decided_ms - u.end_ms for u in perceiver.heard] == [waited] * 3


def test_a_modality_that_comes_or_goes_is_said_once() -> None:
    """`modality.status` tells a change of a speaker's modality, and nothing while it stays as it is."""
    statuses = iter(["ok", "absent", "absent", "ok"])

    class Blinking(Scripted):
        def extract_features(
            self, utterance: Utterance, transcript: Transcript, faces: object, past: Sequence[PastTurn] = ()
        ) -> Perception:
            seen = super().extract_features(utterance, transcript, faces)
            return replace(seen, status={"text": "ok", "face": next(statuses), "voice": "unused"})

    running, told = session(Tape(np.concatenate([THREE, voiced(1.0), silence(1.0)])), perceiver=Blinking())
    running.run()
    said = [(e.modality, e.status, e.speaker) for e in told if isinstance(e, events.ModalityStatus)]
    assert said == [("face", "absent", "tape"), ("face", "ok", "tape")]


def test_pictures_are_shed_while_the_machine_is_behind() -> None:
    """A frame that comes meanwhile reaches no landmarker and is counted."""
    running, _ = session(Tape(THREE))
    running._extractor.face = object()  # type: ignore[assignment]
    running._camera_speaker = "tape"
    running.overload.update_lag(5_000)
    running.video(VideoFrame("camera", 0, np.zeros((8, 8, 3), np.uint8)))
    assert running._faces is None
    assert running.overload.total["video_frames"] == 1


def test_features_that_are_no_numbers_are_a_failed_modality() -> None:
    """A NaN never reaches the dialogue: the modality is `failed`, and without another the utterance is discarded."""

    class Broken(Scripted):
        def extract_features(
            self, utterance: Utterance, transcript: Transcript, faces: object, past: Sequence[PastTurn] = ()
        ) -> Perception:
            whole = super().extract_features(utterance, transcript, faces, past)
            voice = np.array([np.nan], np.float32)
            features = {"voice": voice} if len(self.heard) == 2 else whole.features | {"voice": voice}
            return replace(whole, features=features, status={"text": "ok", "voice": "ok"})

    running, told = session(Tape(THREE), perceiver=Broken())
    running.run()
    assert [one.modalities["voice"].status for one in finals(told)] == ["failed", "failed"]
    assert [e.reason for e in told if isinstance(e, events.UtteranceDiscarded)] == ["nothing_usable"]


def test_features_are_stored_again_when_there_is_room() -> None:
    """One utterance that could not be stored costs itself alone: both the trouble and its end are told."""
    stored: list[str] = []
    refuse = iter([False, True, False])

    def keep(utterance_id: str, speaker: str, features: object) -> None:
        if next(refuse):
            raise OSError(24, "Too many open files")
        stored.append(utterance_id)

    running, told = session(Tape(THREE), keep=keep)
    running.run()
    assert len(stored) == 2
    trouble = [(e.recovered, e.count) for e in told if isinstance(e, events.StreamDegraded) and e.what == "features"]
    assert trouble == [(False, 0), (True, 1)]
