"""The page of a real session: real speech, real weights, the program as a person runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.chromium import Tab

from realtime.journal.reader import read_events
from realtime.protocol import events

OPENING_S = 15


@pytest.mark.weights
def test_a_real_session_is_followed_corrected_and_kept(open_page: Callable[..., Tab], tmp_path: Path) -> None:
    """`realtime.listen` prints its page's address; there every utterance of the recording appears with its emotion
    while it is judged; with `--hold` one can then be corrected; Ctrl-C ends it and the journal holds all of that."""
    soundfile = pytest.importorskip("soundfile")
    samples, rate = soundfile.read("realtime/demo/conversation.ogg", frames=OPENING_S * 48_000)
    recording = tmp_path / "opening.wav"
    soundfile.write(recording, samples[: OPENING_S * rate], rate)
    session = subprocess.Popen(
        [
            *(sys.executable, "-u", "-m", "realtime.listen", "--file", str(recording), "--pace", "fast"),
            *("--channels", "split", "--speakers", "[anna,ben]", "--language", "en", "--port", "0"),
            *("--hold", "true", "--journal", str(tmp_path / "journal")),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert session.stdout is not None
        page = next(line for line in session.stdout if line.startswith("page: ")).removeprefix("page: ").strip()
        tab = open_page(page)
        assert any("stays up until Ctrl-C" in line for line in session.stdout)
        threading.Thread(target=session.stdout.read, daemon=True).start()
        tab.expect("#connection", "Ended, still served")
        (journal,) = (tmp_path / "journal").iterdir()
        finals = [event for event in read_events(journal) if isinstance(event, events.EmotionFinal)]
        assert len(finals) >= 3
        tab.expect("#transcript-count", f"{len(finals)} utterances")
        told = tab.page.locator("#transcript").inner_text()
        assert all(final.text is None or final.text in told for final in finals[-2:])
        tab.expect(".mood h3", "anna")
        tab.expect(".mood h3", "ben")
        tab.expect("#notice", "analysed")
        tab.page.locator("article[data-state=final]").last.click()
        last = max(finals, key=lambda final: final.start_ms)
        wrong = next(label for label in last.probabilities if label != last.emotion)
        tab.page.locator(f"#details button[data-label={wrong}]").click()
        tab.expect("article .tag.corrected", last.emotion)
        session.send_signal(signal.SIGINT)
        assert session.wait() == 0
        tab.page.locator("#connection[data-state=ended]", has_text="Ended").wait_for()
        *_, corrected, closed = read_events(journal)
        assert isinstance(corrected, events.EmotionCorrected)
        assert (corrected.utterance_id, corrected.to) == (last.utterance_id, wrong)
        assert isinstance(closed, events.SessionClosed)
        assert tab.complaints == [] or all("WebSocket" in one for one in tab.complaints)
    finally:
        session.kill()
        session.wait()
