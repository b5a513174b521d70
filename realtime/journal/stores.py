"""Everything that a session keeps of people: one list of stores, each of which answers `forget`.

| store | what it holds | where |
|---|---|---|
| journal | words, names, notes | realtime/journal/event_log.py |
| stored features | what was computed of words, voice and face | core_models/feature_log.py |
| the feed's memory | words, names, notes for clients that come later | realtime/feed/ring_buffer.py |
| `--events FILE` | words, names, notes | realtime/cli/event_file.py |
| `--voice-prints FILE` | voices of this and earlier calls | realtime/diarization/voice_prints.py |

Two more hold nothing: a replay plays from the journal, and a session that still runs cannot be exported. What a later
version keeps of people is a `Store` and is added to the publisher's list, or it is not kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from core_models.atomic_write import reason_of
from core_models.errors import TrackerError
from core_models.feature_log import features_path, forget
from realtime.journal.event_log import Journal
from realtime.journal.redaction import redact_line


class Store(Protocol):
    """Something that keeps what people said, are called or sound like."""

    @property
    def holds(self) -> str:
        """What it is, within a sentence."""
        ...

    def forget(self, people: Collection[str]) -> None:
        """Keep nothing more of these ids. OSError or TrackerError where that fails; it may be asked again."""
        ...


class JournalStore:
    """The words, names and notes in a journal."""

    holds = "the journal"

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def forget(self, people: Collection[str]) -> None:
        """Redact every line in its place. OSError."""
        self._journal.rewrite_lines(lambda line: redact_line(people, line))


class FeatureStore:
    """The features beside a journal."""

    holds = "the stored features"

    def __init__(self, journal: Path) -> None:
        self._path = features_path(journal)

    def forget(self, people: Collection[str]) -> None:
        """Drop their utterances. OSError."""
        forget(self._path, people)


class Erasures:
    """Erases people from every store. What a store refuses is owed, and tried again every `retry_s` until it is done.

    `lock` is held while a store is asked, so that nothing is written there meanwhile; `settled` is called, under it,
    with a sentence when something that was owed has been done.
    """

    def __init__(
        self,
        stores: Iterable[Store],
        *,
        lock: AbstractContextManager[object],
        settled: Callable[[str], object],
        retry_s: float,
    ) -> None:
        self._stores = list(stores)
        self._lock = lock
        self._settled = settled
        self._retry_s = retry_s
        self._owed: list[tuple[Store, frozenset[str]]] = []
        self._timer: threading.Timer | None = None

    @property
    def owed(self) -> tuple[str, ...]:
        """What still holds somebody who has opted out, in words."""
        return tuple(dict.fromkeys(store.holds for store, _ in self._owed))

    def forget(self, people: Collection[str]) -> list[str]:
        """Erase `people` everywhere; what refused, as parts of a sentence. The others have forgotten."""
        wanted = frozenset(people)
        refusals = []
        for store in self._stores:
            if (why := _ask_store(store, wanted)) is not None:
                refusals.append(f"{store.holds} ({why})")
                if (store, wanted) not in self._owed:
                    self._owed.append((store, wanted))
        self._set_timer()
        return refusals

    def retry(self) -> None:
        """Try again what is owed."""
        with self._lock:
            due, self._owed, self._timer = self._owed, [], None
            for store, people in due:
                if _ask_store(store, people) is None:
                    self._settled(f"{store.holds} holds nothing more of {', '.join(sorted(people))}")
                else:
                    self._owed.append((store, people))
            self._set_timer()

    def close(self) -> None:
        """Try once more, and never again."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self.retry()
            if self._timer is not None:
                self._timer.cancel()

    def _set_timer(self) -> None:
        if self._owed and self._timer is None:
            self._timer = threading.Timer(self._retry_s, self.retry)
            self._timer.daemon = True
            self._timer.start()


def _ask_store(store: Store, people: Collection[str]) -> str | None:
    try:
        store.forget(people)
    except (OSError, TrackerError, ValueError) as error:
        return reason_of(error)
    return None
