"""A client's query: where to begin, and which events.

- `from=N&epoch=E`: after number N of epoch E; without `epoch`, of the present one; `from=0` alone is everything.
- `history=none|snapshot|full`, for a client that has no number yet: the next event (the default), a `snapshot` and then
  the next event, or everything.
- `types=A,B`: events of these types only. `speakers=A,B`: of the events that have a speaker only theirs; once one of
  them proves to be another (`speaker.merged`), ask again for that one.
  `min_confidence=X`: of the events that have a confidence only those of X or more. `stream.gap`, `snapshot` and
  `command.result` always come. Every event of a filtered stream carries `prev_seq`: the number in this epoch of the
  one before it on this stream, or after which the stream began; 0 where there is none. A client that has another
  number has missed something.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl

import msgspec

from realtime.feed.access import HttpRefusal

_KNOWN = {"from", "epoch", "history", "types", "speakers", "min_confidence", "token"}
# A call has a handful of speakers and the wire sixteen types; each name is looked up for every event.
_LONGEST = 50


class _Judged(msgspec.Struct):
    """The fields that filters look at; the rest is not decoded."""

    type: str
    speaker: str | None = None
    into: str | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class Filter:
    """Which events a client wants; None stands for all."""

    types: frozenset[str] | None
    speakers: frozenset[str] | None
    min_confidence: float | None

    def admits_event(self, line: bytes) -> bool:
        """Whether the event of this line is wanted."""
        event = msgspec.json.decode(line, type=_Judged)
        if self.types is not None and event.type not in self.types:
            return False
        if self.speakers is not None and event.speaker is not None and not {event.speaker, event.into} & self.speakers:
            return False
        return self.min_confidence is None or event.confidence is None or event.confidence >= self.min_confidence


@dataclass(frozen=True)
class Subscription:
    """One client's request. `after` is (epoch or None for the present one, number), `history` matters without it."""

    after: tuple[str | None, int] | None
    history: str
    filter: Filter | None


def parse_query(query: str) -> Subscription:
    """The request of a query; HttpRefusal (400) where they make no sense."""
    try:
        given = parse_qsl(query, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise _bad_request("expected at most 20 parameters") from None
    asked = {name: value for name, value in given if name in _KNOWN}
    if len(asked) < sum(name in _KNOWN for name, _ in given):
        raise _bad_request("expected each parameter once")
    history = asked.get("history", "none")
    if history not in ("none", "snapshot", "full"):
        raise _bad_request("expected history=none, snapshot or full")
    after = _parse_start(asked)
    if after is None and history == "full":
        after = None, 0
    return Subscription(after, history, _parse_filter(asked))


def _parse_start(asked: dict[str, str]) -> tuple[str | None, int] | None:
    number = asked.get("from")
    if number is None:
        if "epoch" in asked:
            raise _bad_request("expected from=NUMBER with epoch=ID")
        return None
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise _bad_request("expected from=NUMBER: the last event's seq, or 0 for all")
    return asked.get("epoch") or None, int(number)


def _parse_filter(asked: dict[str, str]) -> Filter | None:
    types, speakers = _parse_names(asked, "types"), _parse_names(asked, "speakers")
    least = None
    if "min_confidence" in asked:
        try:
            least = float(asked["min_confidence"])
        except ValueError:
            least = -1.0
        if not 0 <= least <= 1:
            raise _bad_request("expected min_confidence=X with X from 0 to 1")
    return Filter(types, speakers, least) if {types, speakers, least} != {None} else None


def _parse_names(asked: dict[str, str], parameter: str) -> frozenset[str] | None:
    if parameter not in asked:
        return None
    names = asked[parameter].split(",")
    if not all(names) or len(names) > _LONGEST:
        raise _bad_request(f"expected {parameter}=NAME,NAME,... with 1 to {_LONGEST} names")
    return frozenset(names)


def _bad_request(sentence: str) -> HttpRefusal:
    return HttpRefusal(HTTPStatus.BAD_REQUEST, sentence)
