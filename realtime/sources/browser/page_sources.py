"""The sources that pages fill: each has a bounded queue and a thread that puts its items on the media clock."""

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
from realtime.sources.source import Sink
from realtime.sources.status_reporter import StatusReporter

# Thirty seconds of sound.
_QUEUE_BLOCKS = 1_000
_QUEUE_PICTURES = 4
_STALLED_S = 0.8
_BLIND_S = 3.0


@dataclass(frozen=True, slots=True)
class AudioItem:
    """A stretch of a page's sound at `rate` Hz."""

    rate: int
    block: Block


@dataclass(frozen=True, slots=True)
class PictureItem:
    """A picture of a page, taken at `at_ms` of media time after it kept back `missed`."""

    jpeg: bytes
    at_ms: int
    missed: int


Item = TypeVar("Item", AudioItem, PictureItem)


class PageSource(ABC, Generic[Item]):
    """A source that pages fill. It waits for a page, reports when that is `lost`, and waits for the next."""

    kind = "browser"
    has_audio: bool
    _patience_s: float

    def __init__(self, name: str) -> None:
        self.name = name
        self.detail = f"the {name} of a browser"
        # A string: why the page is gone; None: stop.
        self._items: queue.SimpleQueue[Item | str | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, sink: Sink) -> None:
        """Wait for a page from now on."""
        self._thread = threading.Thread(target=self._run, args=(sink,), name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more; idempotent; what has arrived until now is delivered."""
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
    def _begin(self, first: Item) -> None:
        """A page begins to send."""

    @abstractmethod
    def _deliver(self, sink: Sink, reporter: StatusReporter, item: Item) -> int:
        """Pass an item on; returns the media time that this source has reached with it."""

    def _end(self, sink: Sink) -> None:
        """Pass on what was held back."""

    @abstractmethod
    def _take_losses(self) -> str:
        """What was shed since the last call, in words; empty where nothing was."""

    def _run(self, sink: Sink) -> None:
        end = ("lost", f"Reading {self.detail} failed.")
        reporter = StatusReporter(sink, self.name, self.kind)
        try:
            reporter.report("waiting", "No page at /capture sends it yet.", will_retry=True)
            while (item := self._items.get()) is not None:
                # A page that connected and left before it sent anything.
                if isinstance(item, str):
                    continue
                why = self._relay_page(sink, reporter, item)
                if why is None:
                    break
                reporter.report("lost", why, will_retry=True)
            end = ("ended", "The session takes no more of it.")
        finally:
            reporter.report(*end)

    def _relay_page(self, sink: Sink, reporter: StatusReporter, item: Item) -> str | None:
        """Pass on what a page sends until it is gone, and return why; None after `stop`."""
        reporter.report("opened", f"A page sends {self.detail}.")
        self._begin(item)
        try:
            while True:
                reporter.report_losses(
                    self._deliver(sink, reporter, item),
                    self._take_losses,
                    reason="the connection or this machine is too slow",
                    recovered=f"All of {self.detail} arrives again.",
                )
                try:
                    following = self._items.get(timeout=self._patience_s)
                except queue.Empty:
                    return "The page sends no more of it; it is waited for."
                if following is None or isinstance(following, str):
                    return following
                item = following
        finally:
            self._end(sink)


class PageAudioSource(PageSource[AudioItem]):
    """Sound of pages, as a microphone's (realtime/sources/clock_sync.py)."""

    has_audio = True
    _patience_s = _STALLED_S

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._aligner = ClockAligner(name, SAMPLE_RATE)
        self._dropped = False

    def put(self, item: AudioItem) -> None:
        if self._items.qsize() >= _QUEUE_BLOCKS:
            self._dropped = True
            return
        if self._dropped:
            self._dropped = False
            item = AudioItem(item.rate, Block(item.block.frames, item.block.heard_ms, 0, True))
        self._items.put(item)

    def _begin(self, first: AudioItem) -> None:
        self._aligner = self._aligner.reopened(first.rate)

    def _deliver(self, sink: Sink, reporter: StatusReporter, item: AudioItem) -> int:
        for chunk in self._aligner.align(item.block):
            sink.audio(chunk)
        return item.block.heard_ms

    def _end(self, sink: Sink) -> None:
        for chunk in self._aligner.flush():
            sink.audio(chunk)

    def _take_losses(self) -> str:
        lost, self._aligner.lost_ms = self._aligner.lost_ms, 0
        return f"{lost} ms of it were lost" if lost else ""


class PageVideoSource(PageSource[PictureItem]):
    """Pictures of pages."""

    has_audio = False
    _patience_s = _BLIND_S

    def __init__(self, name: str) -> None:
        super().__init__(name)
        # The count is for a sentence: two threads may lose one.
        self._shed = 0
        self._last_ms = 0
        self._dark = False

    def put(self, item: PictureItem) -> None:
        self._shed += item.missed
        if self._items.qsize() >= _QUEUE_PICTURES:
            self._shed += 1
        else:
            self._items.put(item)

    def _begin(self, first: PictureItem) -> None:
        self._dark = False

    def _deliver(self, sink: Sink, reporter: StatusReporter, item: PictureItem) -> int:
        import cv2

        bgr = cv2.imdecode(np.frombuffer(item.jpeg, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            self._shed += 1
            return item.at_ms
        if (dark := is_dark(bgr)) != self._dark:
            self._dark = dark
            status = ("covered", f"{self.detail} is dark.") if dark else ("opened", f"{self.detail} sees again.")
            reporter.report(*status)
        self._last_ms = max(self._last_ms, item.at_ms)
        sink.video(VideoFrame(self.name, self._last_ms, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)))
        return item.at_ms

    def _take_losses(self) -> str:
        shed, self._shed = self._shed, 0
        return f"{shed} pictures were shed" if shed else ""
