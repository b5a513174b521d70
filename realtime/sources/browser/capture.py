"""A browser as a source: what pages at /capture send becomes sound and pictures on the media clock. No sockets.

Three sources, each sent by one page at a time: `microphone`, `tab` (what another tab plays: the far side of a call)
and `camera`. A page that goes away is `lost`, whoever comes next is `opened` again, and what lies between is a gap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import numpy as np

from realtime.sources.browser.limits import TokenBucket
from realtime.sources.browser.page_sources import AudioItem, PageAudioSource, PageVideoSource, PictureItem
from realtime.sources.browser.wire import Malformed, Picture, Sound, decode
from realtime.sources.clock_sync import Block

MALFORMED, POLICY_VIOLATION, TRY_AGAIN_LATER = 1007, 1008, 1013

# A second, that a page is asked for.
# A second, that a page is asked for.
MOST_PICTURES = 10.0
# A source is its page's as long as something came of it within this time: a connection may drop silently.
_HELD_MS = 2_000
# What even a shorter stretch of sound costs of a page's allowance, so that messages are bounded too.
_SHORTEST_MS = 10.0
_CLOCK_WINDOW_S = 10
_MOST_MISSED = 100


class CaptureRefused(Exception):
    """A page that may not send this: its connection is closed with `code` and the sentence as the reason."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class PageClock:
    """Media time of what a page took, from when it says that it did and when it arrived.

    A message may arrive late, seconds where a network stalls, and never early: the least late one of the last seconds
    tells how the page's clock stands to the session's.
    """

    def __init__(self) -> None:
        self._late: deque[tuple[int, int]] = deque()  # (second, least lateness in it)

    def media_ms(self, at_ms: int, now_ms: int) -> int:
        """When the page's `at_ms` was, now that it has arrived; never after now."""
        late, second = now_ms - at_ms, now_ms // 1000
        if self._late and self._late[-1][0] == second:
            late = min(late, self._late.pop()[1])
        self._late.append((second, late))
        while self._late[0][0] < second - _CLOCK_WINDOW_S:
            self._late.popleft()
        return max(0, at_ms + min(least for _, least in self._late))


@dataclass
class _Place:
    """How far a source of one page has come."""

    at_ms: int = 0
    count: int | None = None  # of what is next
    rate: int = 0


@dataclass(eq=False)
class Page:
    """One connection of a page, and what it may send; everything in it runs on the feed's event loop."""

    browser: Browser
    clock: PageClock = field(default_factory=PageClock)
    places: dict[str, _Place] = field(default_factory=dict)
    heard_ms: dict[str, int] = field(default_factory=dict)

    def take(self, message: bytes) -> None:
        """Pass on a message. CaptureRefused where it is none of the format, out of order, or too much."""
        try:
            found = decode(message)
        except Malformed as malformed:
            raise CaptureRefused(MALFORMED, str(malformed)) from None
        place = self.places.get(found.source)
        if place is None or not self.browser.holds(self, found.source):
            raise CaptureRefused(TRY_AGAIN_LATER, f"the {found.source} is sent by another page, or was not asked for")
        if found.at_ms < place.at_ms or (place.count is not None and found.count < place.count):
            raise CaptureRefused(POLICY_VIOLATION, f"the time of the {found.source} goes back")
        now_ms = self.browser.clock()
        # Pages are admitted during the session only.
        assert now_ms is not None
        self.heard_ms[found.source] = now_ms
        missed = 0 if place.count is None else min(found.count - place.count, _MOST_MISSED)
        media_ms = self.clock.media_ms(found.at_ms, now_ms)
        match found:
            case Sound():
                if found.rate != place.rate and place.count is not None:
                    raise CaptureRefused(MALFORMED, f"the rate of the {found.source} changes")
                if not self.browser.allow(found.source, max(_SHORTEST_MS, len(found.pcm) * 1000 / found.rate), now_ms):
                    raise CaptureRefused(POLICY_VIOLATION, f"the {found.source} is faster than real time")
                place.rate, place.count = found.rate, found.count + len(found.pcm)
                frames = np.divide(found.pcm, 32768, dtype=np.float32)[:, None]
                # How much was lost is for the clock to say: a page could claim anything.
                self.browser.sounds[found.source].put(AudioItem(found.rate, Block(frames, media_ms, 0, missed > 0)))
            case Picture():
                if not self.browser.allow(found.source, 1, now_ms):
                    raise CaptureRefused(POLICY_VIOLATION, "there are too many pictures")
                place.count = found.count + 1
                assert self.browser.camera is not None
                self.browser.camera.put(PictureItem(found.jpeg, media_ms, missed))
        place.at_ms = found.at_ms

    def leave(self) -> None:
        """The connection has ended."""
        self.browser.release(self)


class Browser:
    """What pages send to one session; `pictures_per_second` 0 for no camera, `tab` for the far side.

    `clock` gives the milliseconds since the session began, None before. `wanted` is what a page is asked for.
    """

    def __init__(self, *, clock: Callable[[], int | None], tab: bool = True, pictures_per_second: float = 6.0) -> None:
        self.clock = clock
        self.pictures_per_second = pictures_per_second
        self.sounds = {name: PageAudioSource(name) for name in (("microphone", "tab") if tab else ("microphone",))}
        self.camera = PageVideoSource("camera") if pictures_per_second > 0 else None
        self.wanted: Collection[str] = (*self.sounds, *(["camera"] if self.camera else []))
        self._holders: dict[str, Page] = {}
        # What a network held up for seconds arrives at once; sound cards are off by some hundred millionths.
        self._allowances = {name: TokenBucket(per_s=1_002.0, most=15_000.0) for name in self.sounds}
        self._allowances["camera"] = TokenBucket(per_s=15.0, most=150.0)

    def admit(self, names: Iterable[str]) -> Page:
        """A page that sends these of `wanted` from now on; CaptureRefused while another one does, or too early."""
        names = list(names)
        now_ms = self.clock()
        # And not 0, which is a session's first millisecond.
        if now_ms is None:
            raise CaptureRefused(TRY_AGAIN_LATER, "the session has not begun")
        for name in names:
            holder = self._holders.get(name)
            if holder is not None and now_ms - holder.heard_ms[name] < _HELD_MS:
                raise CaptureRefused(TRY_AGAIN_LATER, f"another page sends the {name} already")
        page = Page(self)
        for name in names:
            if name in self._holders:
                self._page_source(name).leave("Another page sends it from now on.")
            page.places[name], page.heard_ms[name] = _Place(), now_ms
            self._holders[name] = page
        return page

    def holds(self, page: Page, name: str) -> bool:
        """Whether this page is the one that sends a source."""
        return self._holders.get(name) is page

    def allow(self, name: str, amount: float, now_ms: int) -> bool:
        """Whether so many milliseconds of sound, or so many pictures, may come now."""
        return self._allowances[name].take(amount, now_ms / 1000)

    def release(self, page: Page) -> None:
        """A page has gone: what it sent is lost until the next one comes."""
        for name in [name for name, holder in self._holders.items() if holder is page]:
            del self._holders[name]
            self._page_source(name).leave("The page was closed, or its connection was cut; it is waited for.")

    def _page_source(self, name: str) -> PageAudioSource | PageVideoSource:
        if name == "camera":
            assert self.camera is not None
            return self.camera
        return self.sounds[name]
