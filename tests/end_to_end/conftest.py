"""Runs the program as a person does: another process, real weights, the demonstration conversation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.chromium import Tab, chromium
from support.served_session import ServedSession

from realtime.demo.assemble import assemble
from realtime.protocol import events

SCENE = Path("realtime/demo/conversation.json")


@dataclass
class Run:
    """A finished run: its exit code, its events and what it said to the person."""

    code: int
    lines: list[bytes]
    said: str

    @property
    def events(self) -> list[events.Message]:
        return [events.decode(line) for line in self.lines]

    def of(self, kind: type) -> list[events.Message]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture(scope="session")
def conversation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration conversation as one recording with sound and face."""
    target = tmp_path_factory.mktemp("demo") / "conversation.mkv"
    assemble(target)
    return target


@pytest.fixture(scope="session")
def scene() -> list[dict[str, object]]:
    """What is said in the demonstration conversation, by whom and when."""
    lines: list[dict[str, object]] = json.loads(SCENE.read_text(encoding="utf-8"))
    return lines


@pytest.fixture(scope="session")
def listen() -> Callable[..., Run]:
    """Runs `python -m realtime.listen` to its end with the given arguments."""

    def run(*arguments: str, **environment: str) -> Run:
        finished = subprocess.run(
            [sys.executable, "-m", "realtime.listen", *arguments],
            capture_output=True,
            env=os.environ | environment,
            check=False,
        )
        return Run(finished.returncode, finished.stdout.splitlines(), finished.stderr.decode())

    return run


@pytest.fixture(scope="session")
def judged(
    listen: Callable[..., Run], conversation: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Path]:
    """The demonstration conversation, judged once for every test that only looks; and its journal's folder."""
    journal = tmp_path_factory.mktemp("journal")
    run = listen(
        *("--file", str(conversation), "--pace", "fast", "--channels", "split", "--speakers", "[anna,ben]"),
        *("--language", "en", "--events", "-", "--port", "0", "--journal", str(journal)),
        *("--store-features", "true"),
    )
    assert run.code == 0, run.said
    return run, journal


@pytest.fixture(scope="module")
def running_chromium() -> Iterator[Any]:
    """A browser for all tests of a file."""
    with chromium() as running:
        yield running


@pytest.fixture
def open_page(running_chromium: Any) -> Iterator[Callable[..., Tab]]:
    """Opens a window of its own on a page."""
    tabs: list[Tab] = []

    def open_one(url: str, **context: Any) -> Tab:
        tabs.append(Tab(running_chromium, url, **context))
        return tabs[-1]

    yield open_one
    for tab in tabs:
        tab.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., ServedSession]]:
    """Serves sessions that the test speaks for."""
    made: list[ServedSession] = []

    def start(**options: Any) -> ServedSession:
        made.append(ServedSession(**options))
        return made[-1]

    yield start
    for one in made:
        one.stop()
