"""The sources that pages fill: each a bounded queue and a thread that puts what comes on the media clock."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from realtime.sources.camera import is_dark
from realtime.sources.clock_sync import Block, ClockAligner
from realtime.sources.media import SAMPLE_RATE, VideoFrame
from realtime.sources.source import Sink, SourceStatus

_WAITING_BLOCKS = 1_000
"""Thirty seconds of sound."""
_WAITING_PICTURES = 4
_STALLED_S = 0.8
_BLIND_S = 3.0
_SAY_EVERY_MS = 10_000


@dataclass(frozen=True, slots=True)
class Heard:
    """A stretch of a page's sound at `rate` Hz."""

    rate: int
    block: Block


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture of a page, taken at `at_ms` of media time after it kept back `missed`."""

    jpeg: bytes
    at_ms: int
    missed: int


Item = TypeVar("Item", Heard, Seen)


class PageSource(ABC, Generic[Item]):
    """A source that pages fill. It waits for one, tells when that is `lost`, and waits for the next."""

    kind = "browser"
    has_audio: bool
    _patience_s: float

    def __init__(self, name: str) -> None:
        self.name = name
        self.detail = f"the {name} of a browser"
        self._items: queue.SimpleQueue[Item | str | None] = queue.SimpleQueue()  # str: gone, and why; None: stop
        self._thread: threading.Thread | None = None
        self._said_at = -_SAY_EVERY_MS
        self._troubled = False

    def start(self, sink: Sink) -> None:
        """Wait for a page from now on."""
        self._thread = threading.Thread(target=self._run, args=(sink,), name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more; idempotent; what has come until now is delivered."""
        if self._thread is not None:
            self._items.put(None)
            self._thread.join()
            self._thread = None

    def leave(self, why: str) -> None:
        """The page that sent this has gone."""
        self._items.put(why)

    @abstractmethod
    def put(self, item: Item) -> None:
        """Take what a page sent; never waits: what does not fit is shed and counted."""

    @abstractmethod
    def _begin(self, sink: Sink, first: Item) -> None:
        """A page begins to send."""

    @abstractmethod
    def _deliver(self, sink: Sink, item: Item) -> int:
        """Pass something on; the media time that it has brought this source to."""

    def _end(self, sink: Sink) -> None:
        """Pass on what was held back."""

    @abstractmethod
    def _losses(self) -> str:
        """What was shed since it was asked last, in words; empty where nothing was."""

    def _run(self, sink: Sink) -> None:
        end = ("lost", f"Reading {self.detail} failed.")
        try:
            self._tell(sink, "waiting", "No page at /capture sends it yet.", will_retry=True)
            while (item := self._items.get()) is not None:
                if isinstance(item, str):  # it came, and went without a word
                    continue
                why = self._follow(sink, item)
                if why is None:
                    break
                self._tell(sink, "lost", why, will_retry=True)
            end = ("ended", "The session takes no more of it.")
        finally:
            self._tell(sink, *end)

    def _follow(self, sink: Sink, item: Item) -> str | None:
        """Pass on what a page sends until it is gone, and return why; None after `stop`."""
        self._tell(sink, "opened", f"A page sends {self.detail}.")
        self._begin(sink, item)
        try:
            while True:
                self._account(sink, self._deliver(sink, item))
                try:
                    following = self._items.get(timeout=self._patience_s)
                except queue.Empty:
                    return "The page sends no more of it; it is waited for."
                if following is None or isinstance(following, str):
                    return following
                item = following
        finally:
            self._end(sink)

    def _account(self, sink: Sink, now_ms: int) -> None:
        """Tell of losses, and of their end, at most every ten seconds."""
        if now_ms - self._said_at < _SAY_EVERY_MS:
            return
        losses = self._losses()
        if losses:
            self._tell(sink, "overflow", f"{losses}: the connection or this machine is too slow.")
        elif self._troubled:
            self._tell(sink, "opened", f"All of {self.detail} arrives again.")
        if losses or self._troubled:
            self._said_at = now_ms
        self._troubled = bool(losses)

    def _tell(self, sink: Sink, status: str, detail: str, *, will_retry: bool = False) -> None:
        sink.status(SourceStatus(self.name, self.kind, status, detail, will_retry))


class PageAudioSource(PageSource[Heard]):
    """Sound of pages, as a microphone's (realtime/sources/clock_sync.py)."""

    has_audio = True
    _patience_s = _STALLED_S

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._timeline = ClockAligner(name, SAMPLE_RATE)
        self._dropped = False

    def put(self, item: Heard) -> None:
        if self._items.qsize() >= _WAITING_BLOCKS:
            self._dropped = True
            return
        if self._dropped:
            self._dropped = False
            item = Heard(item.rate, Block(item.block.frames, item.block.heard_ms, 0, True))
        self._items.put(item)

    def _begin(self, sink: Sink, first: Heard) -> None:
        self._timeline = self._timeline.after(first.rate)

    def _deliver(self, sink: Sink, item: Heard) -> int:
        for chunk in self._timeline.place(item.block):
            sink.audio(chunk)
        return item.block.heard_ms

    def _end(self, sink: Sink) -> None:
        for chunk in self._timeline.rest():
            sink.audio(chunk)

    def _losses(self) -> str:
        lost, self._timeline.lost_ms = self._timeline.lost_ms, 0
        return f"{lost} ms of it were lost" if lost else ""


class PageVideoSource(PageSource[Seen]):
    """Pictures of pages."""

    has_audio = False
    _patience_s = _BLIND_S

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._shed = 0  # the count is for a sentence: two threads may lose one
        self._last_ms = 0
        self._dark = False

    def put(self, item: Seen) -> None:
        self._shed += item.missed
        if self._items.qsize() >= _WAITING_PICTURES:
            self._shed += 1
        else:
            self._items.put(item)

    def _begin(self, sink: Sink, first: Seen) -> None:
        self._dark = False

    def _deliver(self, sink: Sink, item: Seen) -> int:
        import cv2

        bgr = cv2.imdecode(np.frombuffer(item.jpeg, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            self._shed += 1
            return item.at_ms
        if (dark := is_dark(bgr)) != self._dark:
            self._dark = dark
            told = ("covered", f"{self.detail} is dark.") if dark else ("opened", f"{self.detail} sees again.")
            self._tell(sink, *told)
        self._last_ms = max(self._last_ms, item.at_ms)
        sink.video(VideoFrame(self.name, self._last_ms, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)))
        return item.at_ms

    def _losses(self) -> str:
        shed, self._shed = self._shed, 0
        return f"{shed} pictures were shed" if shed else ""
