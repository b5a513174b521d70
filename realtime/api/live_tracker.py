"""`Tracker`: one's own sound and pictures in, the events of the feed out."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from core_models.errors import TrackerError, UsageError
from realtime.api.shared_models import build_shared_extractor, load_shared_models
from realtime.cli.listen_options import Listen
from realtime.cli.session_assembly import build_session, describe_end, describe_session
from realtime.cli.session_inputs import SessionInputs
from realtime.cli.several_people import build_speaker_clustering
from realtime.diarization.speaker_clustering import UNKNOWN_SPEAKER
from realtime.feed.publisher import EventPublisher
from realtime.protocol import events
from realtime.sources.pushed import PushedPictures, PushedSound


class Tracker:
    """Follows a conversation of which a program has the sound and, if it likes, the pictures itself.

        with Tracker(speakers=["anna", "ben"]) as tracker:
            tracker.feed(samples, 48_000, speaker="anna")
            for event in tracker.poll():
                ...
        for event in tracker:      # what was still to come, up to `session.closed`
            ...

    `async with` and `async for` do the same without holding up the event loop. Events are those of the feed, stamped
    alike. `on_event` gets each one instead, from a thread of the session. Several trackers of one checkpoint share its
    loaded models. Nothing is written to disk and no port is opened.

    `speakers` are who has sound of their own; "auto" is one stream in which several people are told apart by their
    voices. `camera_speaker` is whose face the pictures show, the first speaker if not given. With `real_time` false,
    `feed` waits where this machine is behind, and nothing is lost; with true it never waits: results come before an
    utterance has ended, and provisional ones and pictures are shed where it is too much.
    """

    def __init__(
        self,
        *,
        speakers: Literal["auto"] | Sequence[str] = ("speaker",),
        camera_speaker: str | None = None,
        real_time: bool = False,
        checkpoint: str = "default",
        language: str = "auto",
        device: Literal["auto", "cpu", "cuda"] = "auto",
        threads: int = 2,
        on_event: Callable[[events.Logged], None] | None = None,
    ) -> None:
        names = (UNKNOWN_SPEAKER,) if speakers == "auto" else tuple(speakers)
        if not names or len(set(names)) < len(names):
            raise UsageError(f"{list(names)} are no speakers: give each a name of its own, or auto.")
        if camera_speaker not in (None, *names):
            raise UsageError(f"The camera cannot see {camera_speaker}, who is none of {', '.join(names)}.")
        self.session = events.new_id()
        """The id of the conversation."""
        self._options = Listen(
            speakers="auto" if speakers == "auto" else names,
            checkpoint=checkpoint,
            language=language,
            device=device,
            threads=threads,
            port=-1,
            keep_journal=False,
        )
        self._real_time = real_time
        self._sounds = {name: PushedSound(name) for name in names}
        self._pictures = PushedPictures()
        self._camera_speaker = camera_speaker or names[0]
        self._waiting: queue.SimpleQueue[events.Logged] = queue.SimpleQueue()
        self._wakers: list[Callable[[], object]] = []  # of loops that wait for an event
        self._view = on_event or self._queue_event
        self._over = False  # `session.closed` was handed out
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    # -- life

    def open(self) -> None:
        """Load the models, unless another tracker has, and take sound from now on. WeightsError, CheckpointError."""
        if self._thread is not None:
            raise UsageError("A tracker follows one conversation: make another one for the next.")
        options = self._options
        models = load_shared_models(options.checkpoint, options.device, options.threads)
        inputs = SessionInputs(
            sources=[*self._sounds.values(), self._pictures],
            speakers={name: name for name in self._sounds},
            camera_speaker=self._camera_speaker,
            far_ends={},
            browser=None,
        )
        publisher = EventPublisher(self.session, views=[self._view])
        session = build_session(
            options,
            inputs,
            models,
            publisher.append,
            clustering=build_speaker_clustering(options, inputs.speakers.values()),
            real_time=self._real_time,
            extractor=build_shared_extractor(models, options.language),
        )
        publisher.append(describe_session(models, inputs.sources))
        opened = threading.Event()

        def follow() -> None:
            try:
                summary = session.run()
                self._failure = session.failure
                publisher.append(describe_end(session.reason, summary))
            except TrackerError as error:
                self._failure = error
                publisher.append(describe_end("failed", session.summary))
            finally:
                opened.set()
                publisher.close()

        publisher.add_view(lambda event: opened.set() if _opens(event, self._pictures.name) else None)
        self._thread = threading.Thread(target=follow, name="tracker", daemon=True)
        self._thread.start()
        opened.wait()  # the pictures' source is the last one that starts

    def close(self) -> None:
        """Say that nothing more comes, and wait until all that was heard is judged; idempotent.

        Raises what ended the session, where it failed.
        """
        self._pictures.end()
        for sound in self._sounds.values():
            sound.end()
        if self._thread is not None:
            self._thread.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    # -- in

    def feed(
        self, samples: NDArray[np.generic], rate: int, *, speaker: str | None = None, at_ms: int | None = None
    ) -> None:
        """Sound of a speaker, of the first if none is named: [n] or [n, channels], integers or floats in [-1, 1].

        It follows what was fed of this speaker before, or begins at `at_ms` of media time, which all speakers share.
        MediaError for what is no sound, UsageError for a speaker who is none.
        """
        sound = next(iter(self._sounds.values())) if speaker is None else self._sounds.get(speaker)
        if sound is None:
            raise UsageError(f"{speaker} is none of the speakers ({', '.join(self._sounds)}): name one of them.")
        if self._thread is None:
            raise UsageError("A tracker hears nothing before it is opened: use `with Tracker(...) as tracker:`.")
        sound.push(samples, rate, at_ms)

    def feed_frame(self, image: NDArray[np.uint8], at_ms: int | None = None) -> None:
        """A picture of the camera's speaker, uint8 [height, width, 3] in RGB; give it before the sound of its time.

        `at_ms` is its media time, by default how far the sound of that speaker has come.
        """
        if self._thread is None:
            raise UsageError("A tracker sees nothing before it is opened: use `with Tracker(...) as tracker:`.")
        self._pictures.push(image, self._sounds[self._camera_speaker].end_ms if at_ms is None else at_ms)

    # -- out

    def poll(self) -> list[events.Logged]:
        """The events since the last time, without waiting."""
        found: list[events.Logged] = []
        while not self._waiting.empty():
            found.append(self._take(self._waiting.get()))
        return found

    def __iter__(self) -> Iterator[events.Logged]:
        """Every event that was not handed out yet, waiting for those to come, up to `session.closed`."""
        while not self._over:
            yield self._take(self._waiting.get())

    async def __aiter__(self) -> AsyncIterator[events.Logged]:
        loop, come = asyncio.get_running_loop(), asyncio.Event()
        # No thread waits for an event: one whose task was cancelled would swallow the next.
        wake = partial(loop.call_soon_threadsafe, come.set)
        self._wakers.append(wake)
        try:
            while not self._over:
                come.clear()
                for event in self.poll():
                    yield event
                if not self._over:
                    await come.wait()
        finally:
            self._wakers.remove(wake)

    def _queue_event(self, event: events.Logged) -> None:
        self._waiting.put(event)
        for wake in tuple(self._wakers):
            wake()

    def _take(self, event: events.Logged) -> events.Logged:
        self._over = self._over or isinstance(event, events.SessionClosed)
        return event


def _opens(event: events.Logged, source: str) -> bool:
    return isinstance(event, events.SourceStatus) and event.source == source and event.status == "opened"
