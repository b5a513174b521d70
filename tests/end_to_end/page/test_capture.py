"""The capture page in a real Chromium with a microphone and a camera: what it sends, and what it says to people."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.capture_session import CaptureSession
from support.chromium import Tab, chromium
from support.collecting_sink import alignment
from support.fake_devices import devices, filmed, spoken
from websockets.sync.client import connect

from core_models.assets import model_folder
from core_models.errors import Exit
from realtime.protocol import events

Samples = NDArray[np.float32]
SILENCE_S = 1.5
ALL = ("microphone", "tab", "camera")


@pytest.fixture(scope="module")
def speaking(
    tmp_path_factory: pytest.TempPathFactory, librivox: list[tuple[str, Samples]]
) -> Iterator[Any]:
    """A browser whose microphone says a sentence again and again and whose camera sees a face."""
    folder = tmp_path_factory.mktemp("devices")
    sound = spoken(folder / "speech.wav", librivox[1][1], SILENCE_S)
    picture = filmed(folder / "face.y4m", next(model_folder("demo-face").glob("*.mp4")), 2.0)
    with chromium(*devices(sound, picture)) as running:
        yield running


@pytest.fixture
def opened(speaking: Any) -> Iterator[Callable[..., Tab]]:
    tabs: list[Tab] = []

    def open_one(url: str, **context: Any) -> Tab:
        tabs.append(Tab(speaking, url, **context))
        return tabs[-1]

    yield open_one
    for tab in tabs:
        tab.close()


@pytest.fixture
def taking() -> Iterator[Callable[..., CaptureSession]]:
    made: list[CaptureSession] = []

    def make(**options: Any) -> CaptureSession:
        made.append(CaptureSession(**options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def send(tab: Tab, *sources: str) -> None:
    """Tick sources and start."""
    for source in sources:
        tab.page.locator(f"input[value={source}]").check()
    tab.page.locator("#start").click()


@pytest.mark.weights
def test_a_call_in_a_browser_is_judged(
    opened: Callable[..., Tab], librivox: list[tuple[str, Samples]], tmp_path: Path
) -> None:
    """`realtime.listen --source browser` prints a page's address; what is said and seen there comes out of the feed
    as words, a face and an emotion of `local`; a page that is closed is told, and Ctrl-C ends the session in order."""
    session = subprocess.Popen(
        [
            *(sys.executable, "-u", "-m", "realtime.listen", "--source", "browser", "--port", "0"),
            *("--language", "en", "--token", "open sesame", "--journal", str(tmp_path)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert session.stdout is not None
    said = {}
    for line in session.stdout:
        name, _, address = line.strip().partition(": ")
        said[name] = address
        if name == "capture":
            break
    tab = opened(said["capture"])
    assert "open" not in tab.page.url, "the token is not left in the address"
    send(tab, "microphone", "camera")
    words = set(librivox[1][0].split())
    told: list[events.Message] = []
    headers = {"Authorization": "Bearer open sesame"}
    with connect(f"{said['feed']}?from=0", additional_headers=headers) as feed:
        for line in feed:
            told.append(events.decode(line if isinstance(line, bytes) else line.encode()))
            last = told[-1]
            if isinstance(last, events.EmotionFinal):
                assert sum(isinstance(one, events.EmotionFinal) for one in told) < 30, "the sentence was never heard"
                heard = (last.text or "").lower()
                if sum(w in heard for w in words) >= 0.8 * len(words) and last.modalities["face"].status == "ok":
                    break
        assert last.speaker == "local"
        assert last.modalities["voice"].status == "ok"
        tab.page.close()
        lost = set()
        while lost != {"microphone", "camera"}:
            message = events.decode(feed.recv(decode=False))
            if isinstance(message, events.SourceStatus) and message.status == "lost":
                lost.add(message.source)
    assert [s.kind for s in told[0].sources] == ["browser"] * 3  # type: ignore[union-attr]
    assert tab.complaints == []
    session.send_signal(signal.SIGINT)
    assert session.wait() == Exit.OK, session.stderr and session.stderr.read()


def test_microphone_tab_and_camera_arrive(
    taking: Callable[..., CaptureSession], opened: Callable[..., Tab], librivox: list[tuple[str, Samples]]
) -> None:
    """All three sources arrive as they were heard and seen, nothing goes elsewhere, and Stop ends them at once."""
    it = taking()
    tab = opened(it.page)
    send(tab, *ALL)
    tab.expect("#connection", "Sending")
    wanted = 2 * (len(librivox[1][1]) + SILENCE_S * 16_000)  # one whole sentence is in it
    for source in ("microphone", "tab"):
        it.keeper.until(lambda name=source: sum(len(c.samples) for c in it.keeper.chunks if c.source == name) > wanted)
        assert alignment(librivox[1][1], it.keeper.sound(source))[0] > 0.9, source
    it.keeper.until(lambda: len(it.keeper.frames) > 10)
    frame = it.keeper.frames[-1]
    assert frame.rgb.shape == (360, 640, 3)
    assert frame.rgb.std() > 20
    assert tab.page.locator("#preview").is_visible()
    tab.page.locator("#stop").click()
    tab.expect("#connection", "Nothing is sent")
    for source in ALL:
        it.keeper.until(lambda name=source: it.statuses(name)[-1] == "lost")
    assert tab.complaints == []
    assert all(request.startswith(it.page.removesuffix("capture")) for request in tab.requests)


def test_a_page_that_was_cut_off_comes_back(taking: Callable[..., CaptureSession], opened: Callable[..., Tab]) -> None:
    """When the feed dies and another one takes its port, the page says so, and sends again without a click."""
    it = taking()
    port = int(it.page.rpartition(":")[2].removesuffix("/capture"))
    tab = opened(it.page)
    send(tab, "microphone")
    tab.expect("#connection", "Sending")
    it.keeper.until(lambda: len(it.keeper.chunks) > 3)
    it.stop()
    tab.page.locator("#connection[data-state=waiting]").wait_for()
    tab.expect("#wrong", "Trying again")
    again = taking(port=port)
    tab.expect("#connection", "Sending")
    again.keeper.until(lambda: len(again.keeper.chunks) > 3)
    assert tab.page.locator("#wrong").inner_text() == ""


def test_the_keyboard_is_enough(taking: Callable[..., CaptureSession], opened: Callable[..., Tab]) -> None:
    """Every control is reached and used by keys alone; Stop takes the place, and the focus, of Start."""
    it = taking()
    tab = opened(it.page)
    keys = tab.page.keyboard
    tab.page.locator("input[value=microphone]:enabled").wait_for()
    reached = []
    for _ in range(7):
        keys.press("Tab")
        reached.append(tab.page.evaluate("document.activeElement.id || document.activeElement.value"))
        if reached[-1] == "microphone":
            keys.press("Space")
    assert reached[:6] == ["theme", "copy", "microphone", "tab", "camera", "start"]
    tab.page.locator("#start").press("Enter")
    tab.expect("#connection", "Sending")
    assert tab.page.evaluate("document.activeElement.id") == "stop"
    keys.press("Enter")
    tab.expect("#connection", "Nothing is sent")
    assert tab.page.evaluate("document.activeElement.id") == "start"


@pytest.mark.parametrize(("scheme", "size"), [("light", (1360, 850)), ("dark", (390, 844))])
def test_axe_finds_nothing_serious(
    taking: Callable[..., CaptureSession], opened: Callable[..., Tab], scheme: str, size: tuple[int, int]
) -> None:
    """axe-core finds no serious or critical fault, before and while it sends, on a light desktop and a dark phone."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    it = taking()
    tab = opened(it.page, viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    tab.page.locator("input[value=camera]:enabled").wait_for()
    for begin in (lambda: None, lambda: send(tab, "microphone", "camera") or tab.expect("#connection", "Sending")):
        begin()
        found = axe.run(tab.page).response["violations"]
        serious = [
            (v["id"], [n["html"][:150] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")
        ]
        assert serious == []


def test_a_token_is_asked_for(taking: Callable[..., CaptureSession], opened: Callable[..., Tab]) -> None:
    """Without the token or with a wrong one the page says so and asks; with the right one it may send."""
    it = taking(token="open sesame")
    tab = opened(it.page)
    tab.expect("#wrong", "asks for its token")
    for typed in ("sesame", "open sesame"):
        tab.page.locator("#token").fill(typed)
        tab.page.locator("#token-form button").click()
        if typed == "sesame":
            tab.expect("#wrong", "token is wrong")
    tab.page.locator("input[value=microphone]:enabled").wait_for()
    send(tab, "microphone")
    tab.expect("#connection", "Sending")
    it.keeper.until(lambda: len(it.keeper.chunks) > 3)


def test_what_the_session_does_not_want_is_not_offered(
    taking: Callable[..., CaptureSession], opened: Callable[..., Tab]
) -> None:
    """A session without a camera has nobody tick it; one that takes no browser says how to start one that does."""
    it = taking(browser={"pictures_per_second": 0.0})
    tab = opened(it.page)
    tab.expect("#camera-state", "does not use it")
    assert tab.page.locator("input[value=camera]").is_disabled()
    it.feed._routes._capture = None
    tab.page.reload()
    tab.expect("#wrong", "--source browser")
    assert tab.page.locator("#start").is_disabled()


def test_a_second_page_is_told_of_the_first(taking: Callable[..., CaptureSession], opened: Callable[..., Tab]) -> None:
    """Two pages with the same microphone: the second says that another one sends, and takes over when that stops."""
    it = taking()
    first, second = opened(it.page), opened(it.page)
    send(first, "microphone")
    first.expect("#connection", "Sending")
    it.keeper.until(lambda: len(it.keeper.chunks) > 3)
    send(second, "microphone")
    second.expect("#wrong", "another page sends the microphone already")
    heard = len(it.keeper.chunks)
    it.keeper.until(lambda: len(it.keeper.chunks) > heard + 10)
    first.page.locator("#stop").click()
    second.expect("#connection[data-state=open]", "Sending")
    it.keeper.until(lambda: it.statuses("microphone")[-2:] == ["lost", "opened"])


def test_another_machine_needs_tls(
    taking: Callable[..., CaptureSession], opened: Callable[..., Tab], certificate: tuple[Path, Path]
) -> None:
    """Over TLS and with the token of its address a page sends as on its own machine; the token stays out of sight."""
    it = taking(certificate=certificate[0], key=certificate[1], token="open sesame")
    tab = opened(f"{it.page}#token=open+sesame", ignore_https_errors=True)
    assert tab.page.url == it.page
    assert it.page.startswith("https://")
    tab.page.locator("input[value=microphone]:enabled").wait_for()
    send(tab, "microphone")
    tab.expect("#connection", "Sending")
    it.keeper.until(lambda: len(it.keeper.chunks) > 3)
    assert tab.sockets[0].startswith("wss://")
