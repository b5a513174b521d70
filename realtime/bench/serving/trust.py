"""What a person withdrew is gone, and nothing from outside ends a call or changes it silently: attacks, counted."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
from rich.console import Console
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from core_models import feature_log
from core_models.errors import DiskError, Exit, TrackerError
from core_models.feature_log import FeatureRecorder, features_path
from core_models.feature_spec import FeatureSpec
from realtime.cli.event_file import open_event_file
from realtime.cli.terminal import Terminal
from realtime.diarization.voice_prints import VoicePrintFile
from realtime.export import export
from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.journal.event_log import Journal
from realtime.journal.reader import Damage, read_journal
from realtime.journal.session_files import delete_session
from realtime.journal.stores import Store
from realtime.protocol import commands, events
from realtime.review.conversation import fold_conversation
from realtime.sources.browser import wire

_SESSION = "01JTRVST000000000000000000"
_LABELS = ("neutral", "joy", "anger")
_SECRETS = (b"grey herons", b"Annabel", b"quotes her", b"ann.npy")
_SPEC = FeatureSpec(modality="voice", name="v", version=1, dimension=2, digest="d")
# The slowest reader of a short file that is whole takes milliseconds: what takes this long hangs.
_LONGEST_S = 5.0

HOSTILE = (
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\x1b]0;owned\x07\x1b[2J",
    "\x9b31m",
    "\x00\x01\x0b",
    "\ud7ff\ufffe",
    "\u202egnp.exe",
    "]]> --> </v></c>",
    '"><script>alert(1)</script>',
    "line\r\nline\u2028line",
    "x" * 5000,
)
"""Words, names and notes that mean something to a spreadsheet, a terminal, a parser or a page."""


def trust(*, flips: int = 1000, mutants: int = 200) -> dict[str, Any]:
    """Attack what this program keeps and reads; `failed` of every catalogue should be 0.

    `flips`: bits flipped, one at a time, in a journal; `mutants`: damaged inputs for each reader.
    """
    catalogues: dict[str, Callable[[Path], dict[str, Any]]] = {
        "consent": sweep_consent,
        "second_writer": refuse_second_writers,
        "readers": lambda folder: fuzz_readers(folder, mutants),
        "hostile_text": lambda folder: render_hostile_text(),
        "damage": lambda folder: damage_journals(folder, flips),
    }
    found = []
    for name, attack in catalogues.items():
        with tempfile.TemporaryDirectory() as folder:
            found.append({"name": name} | attack(Path(folder)))
    return {"benchmark": "trust", "catalogues": found}


def _conversation() -> list[events.Logged]:
    created = events.SessionCreated(
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        labels=events.Labels(name="three", labels=_LABELS),
        checkpoint=events.CheckpointDescription(name="c", digest=""),
        models={},
        features={},
        sources=(),
        notice="",
    )
    said = [_final(1, "ann", "Seven grey herons."), _final(2, "ben", "Not one."), _final(3, "ann", "More grey herons.")]
    named = events.SpeakerRenamed(speaker="ann", name="Annabel")
    return [created, *said, named, events.MomentMarked(at_ms=1, note="Ben quotes her")]


def _final(number: int, speaker: str, text: str) -> events.EmotionFinal:
    return events.EmotionFinal(
        utterance_id=f"u{number}",
        revision=1,
        speaker=speaker,
        start_ms=1000 * number,
        end_ms=1000 * number + 900,
        text=text,
        emotion="joy",
        confidence=0.8,
        probabilities={"neutral": 0.1, "joy": 0.8, "anger": 0.1},
        modalities={},
        latency_ms=events.Latency(endpoint=400, queue=0, asr=1, features=1, fusion=1, total=403),
    )


class _Refusing:
    """A store whose disk is full at its first write."""

    def __init__(self, store: Store) -> None:
        self.holds, self._store, self._full = store.holds, store, True

    def forget(self, people: Collection[str]) -> None:
        if self._full:
            self._full = False
            raise OSError(28, "No space left on device")
        self._store.forget(people)


def sweep_consent(folder: Path) -> dict[str, Any]:
    """Sessions that keep all that can be kept; after the opt-out, every file and answer is searched for the person.

    Once with every store willing, once with each of those that are given to a session full at first.
    """
    tried, left = 0, {}
    for refusing in (None, "events", "prints"):
        here = folder / str(refusing)
        here.mkdir()
        answers = _run_and_opt_out(here, refusing)
        places = {path.name: path.read_bytes() for path in here.iterdir()} | answers
        for place, content in places.items():
            wanted = (*_SECRETS, b'"speaker":"ann"') if place.endswith(".features.jsonl") else _SECRETS
            tried += len(wanted)
            if found := [secret.decode() for secret in wanted if secret in content]:
                left[f"{refusing}: {place}"] = found
    return {"tried": tried, "failed": sum(map(len, left.values())), "left": left}


def _run_and_opt_out(folder: Path, refusing: str | None) -> dict[str, bytes]:
    prints = VoicePrintFile(folder / "prints")
    prints.write(dict(zip(("ann", "ben"), np.eye(2, 192, dtype=np.float32), strict=True)))
    with ExitStack() as stack:
        file = open_event_file(str(folder / "events.jsonl"), stack)
        journal = Journal(folder / f"{_SESSION}.jsonl")
        feed = Feed(_SESSION, history=journal, port=0, memory_bytes=1000)
        feed.start()
        stores: dict[str, Store] = {"events": file, "prints": prints}
        publisher = EventPublisher(
            _SESSION,
            journal=journal,
            feed=feed,
            sinks=[file.write_line],
            stores=[_Refusing(store) if name == refusing else store for name, store in stores.items()],
            features=FeatureRecorder(features_path(journal.path), {"voice": _SPEC}),
            retry_s=0.1,
        )
        for event in _conversation():
            publisher.append(event)
        for number, speaker in ((1, "ann"), (2, "ben")):
            publisher.keep_features(f"u{number}", speaker, {"voice": np.ones(2, np.float32)})
        publisher.append(events.SpeakerOptedOut(speaker="ann", opted_out=True))
        while publisher.owed:
            time.sleep(0.01)
        clients = {query: connect(feed.url + query) for query in ("?from=0", "?history=snapshot")}
        feed.stop()
        answers = {query: b"\n".join(_read_all(client)) for query, client in clients.items()}
        publisher.close()
        return answers


def _read_all(client: Any) -> Iterator[bytes]:
    try:
        while True:
            yield client.recv(decode=False)
    except ConnectionClosed:
        return


def refuse_second_writers(folder: Path) -> dict[str, Any]:
    """While a call is journaled: another writer, replay, export and deletion; and an opt-out whose redaction fails."""
    path = folder / f"{_SESSION}.jsonl"
    journal = Journal(path)
    full = _Refusing(VoicePrintFile(folder / "prints"))
    publisher = EventPublisher(_SESSION, journal=journal, stores=[full])
    for event in _conversation():
        publisher.append(event)
    before = path.read_bytes()
    outcomes = [_is_refused(lambda: Journal.reopen(path)), _is_refused(lambda: delete_session(folder, _SESSION))]
    for program in ("realtime.replay", "realtime.export"):
        done = subprocess.run(
            [sys.executable, "-m", program, str(path)], capture_output=True, check=False, text=True
        )
        outcomes.append(done.returncode == Exit.DISK and len(done.stderr.splitlines()) == 1)
    outcomes.append(path.read_bytes() == before)
    try:
        publisher.execute(events.SpeakerOptedOut(speaker="ann", opted_out=True))
        outcomes.append(False)
    except commands.CommandRefused as refused:
        outcomes.append(refused.code == "redaction" and publisher.speakers.has_opted_out("ann"))
    publisher.close()
    outcomes.append(publisher.owed == () and _SECRETS[0] not in path.read_bytes())
    return {"tried": len(outcomes), "failed": outcomes.count(False)}


def _is_refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except DiskError:
        return True
    return False


def fuzz_readers(folder: Path, mutants: int) -> dict[str, Any]:
    """Damaged files and messages, each to its reader: one sentence or a result, and no longer than five seconds."""
    _write_journal(folder / "whole.jsonl")
    recorder = FeatureRecorder(folder / "whole.features", {"voice": _SPEC})
    for number in range(3):
        recorder.keep(f"u{number}", "ann", {"voice": np.ones(2, np.float32)})
    VoicePrintFile(folder / "whole.prints").write({"ann": np.ones(192, np.float32)})
    place = folder / "mutant.jsonl"

    def in_file(read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def read_bytes(data: bytes) -> object:
            place.write_bytes(data)
            return read(place)

        return read_bytes

    command = commands.encode(commands.MarkMoment(id="1", at_ms=5, note="here"))
    readers: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
        "journal": ((folder / "whole.jsonl").read_bytes(), in_file(lambda path: list(read_journal(path)))),
        "reopened_journal": ((folder / "whole.jsonl").read_bytes(), in_file(lambda path: Journal.reopen(path).close())),
        "features": ((folder / "whole.features").read_bytes(), in_file(feature_log.read)),
        "voice_prints": ((folder / "whole.prints").read_bytes(), in_file(lambda path: VoicePrintFile(path).read())),
        "commands": (command, commands.decode),
        "capture": (wire.encode("microphone", at_ms=5, count=1, payload=bytes(64), rate=16_000), wire.decode),
    }
    chance, failed, slowest = random.Random(23), Counter[str](), 0.0
    for name, (whole, read) in readers.items():
        for _ in range(mutants):
            mutant = _mutate(whole, chance)
            began = time.perf_counter()
            try:
                read(mutant)
            except (TrackerError, commands.CommandRefused, wire.Malformed):
                pass
            except Exception as error:  # what this counts
                failed[f"{name}: {error!r}"[:200]] += 1
            slowest = max(slowest, time.perf_counter() - began)
    hangs = int(slowest > _LONGEST_S)
    return {
        "tried": mutants * len(readers),
        "failed": failed.total() + hangs,
        "readers": list(readers),
        "errors": dict(failed),
        "slowest_s": round(slowest, 3),
    }


def _mutate(data: bytes, chance: random.Random) -> bytes:
    at, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    further = (b"[" * 50_000, b"9" * 400, b"\xff\xfe", b"-1e999", b"null", b'{"type":', b"\x00" * 64, data)
    match chance.randrange(5):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        case 2:
            return data[:at] + chance.choice(further) + data[at:]
        case 3:
            return data[:at] + data[end:]
        case _:
            return data[:at] + chance.choice(further) + data[end:]


def render_hostile_text() -> dict[str, Any]:
    """Hostile words, names and notes through exports and terminal: documents stay whole and command nothing."""
    tried, failed = 0, []
    created, *_ = _conversation()
    assert isinstance(created, events.SessionCreated)
    for text in HOSTILE:
        final = msgspec.structs.replace(_final(1, "ann", text), speaker="ann")
        named = events.SpeakerRenamed(speaker="ann", name=text[:100])
        told: list[events.Logged] = [named, final, events.MomentMarked(at_ms=1, note=text)]
        conversation = fold_conversation(created, told)
        out = io.StringIO()
        terminal = Terminal(Console(file=out, width=200, color_system=None))
        for event in told:
            terminal.show(event)
        cells = [one for row in csv.reader(io.StringIO(export(conversation, "csv").decode())) for one in row]
        subtitles = export(conversation, "webvtt").decode()
        checks = {
            "terminal": not any(unicodedata.category(one) in ("Cc", "Cf") for one in out.getvalue() if one != "\n"),
            "csv": not any(cell[:1] in ("=", "+", "@", "\t", "\r") or cell.startswith("-2+") for cell in cells),
            "jsonl": all(json.loads(line) for line in export(conversation, "jsonl").splitlines()),
            "eaf": _is_xml(export(conversation, "eaf")),
            "emotionml": _is_xml(export(conversation, "emotionml")),
            "webvtt": subtitles.count("-->") == 1 and "\x1b" not in subtitles,
            "html": b"<script>alert" not in export(conversation, "html"),
        }
        tried += len(checks)
        failed += [f"{name}: {text[:20]!r}" for name, good in checks.items() if not good]
    return {"tried": tried, "failed": len(failed), "documents": failed}


def _is_xml(document: bytes) -> bool:
    try:
        ElementTree.fromstring(document)  # a document of our own making
    except ElementTree.ParseError:
        return False
    return True


def damage_journals(folder: Path, flips: int) -> dict[str, Any]:
    """Single bits of a journal and of voice prints, and an end at every byte: nothing changes, nothing else goes."""
    path = folder / "a.jsonl"
    _write_journal(path)
    data = path.read_bytes()
    whole = [one for one in read_journal(path) if not isinstance(one, Damage)]
    chance, changed, lost = random.Random(42), 0, 0
    for _ in range(flips):
        path.write_bytes(_flip(data, chance))
        read = list(read_journal(path))
        after = [one for one in read if not isinstance(one, Damage)]
        changed += [one for one in whole if one in after] != after or len(read) < len(whole)
        lost += len(after) < len(whole) - 1
    for size in range(len(data)):
        path.write_bytes(data[:size])
        read = list(read_journal(path))
        changed += read != whole[: len(read)]
        lost += len(read) < data[:size].count(b"\n")
    prints = VoicePrintFile(folder / "prints")
    prints.write({"ann": np.arange(192, dtype=np.float32), "ben": np.ones(192, np.float32)})
    kept, stored = prints.read(), (folder / "prints").read_bytes()
    for _ in range(flips // 4):
        (folder / "prints").write_bytes(_flip(stored, chance))
        try:
            known = prints.read()
        except DiskError:
            continue
        changed += {n: v.tolist() for n, v in known.items()} != {n: v.tolist() for n, v in kept.items()}
    tried = flips + len(data) + flips // 4
    return {"tried": tried, "failed": changed + lost, "silent_changes": changed, "whole_records_lost": lost}


def _flip(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _write_journal(path: Path) -> None:
    publisher = EventPublisher(_SESSION, journal=Journal(path))
    for event in [*_conversation(), events.SessionClosed(reason="ended", totals={})]:
        publisher.append(event)
    publisher.close()
