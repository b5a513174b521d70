"""What the dashboard costs in a long call: Chromium on the real feed, ten thousand utterances, ten events a second."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from core_models.errors import UsageError
from core_models.labels import MELD7
from realtime import events
from realtime.feed import Feed
from realtime.ledger import Ledger

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--enable-precise-memory-info"),
)
"""How Chromium is started where there is no screen, as root too, and without connections of its own."""

_LINES = (
    "Hm.",
    "Did you hear what happened at the station this morning?",
    "No, tell me!",
    "I waited for an hour and nobody came, so in the end I walked home through the rain and called her.",
    "That is so good to hear.",
    "I do not think that this was fair, and I told them so.",
)


def browser() -> str | None:
    """The Chromium of this machine (or CHROMIUM's value); None where there is none."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def conversation(
    utterances: int, *, speakers: tuple[str, ...] = ("anna", "ben"), seed: int = 0
) -> Iterator[events.Logged]:
    """A made-up session, `session.created` to the last utterance: what a journal of so many utterances holds.

    Every tenth stretch of sound is discarded and every fourth utterance has a provisional result first.
    """
    chance = random.Random(seed)
    yield events.SessionCreated(
        created_at=datetime.now(UTC),
        labels=events.Labels(name=MELD7.name, labels=MELD7.labels),
        checkpoint=events.CheckpointDescription(name="made up", digest="0" * 64),
        models={"whisper": "none"},
        features={"text": "none"},
        sources=(events.SourceDescription(source="made", kind="file", detail="a made-up conversation"),),
        notice="A made-up conversation: nobody is analysed.",
    )
    yield events.SourceStatus(source="made", kind="file", status="opened")
    before: dict[str, str] = {}
    now, number, judged = 500, 0, 0
    while judged < utterances:
        number += 1
        speaker, length = chance.choice(speakers), chance.randrange(400, 6_000)
        name, end = f"u{number}", now + length
        yield events.SpeechStarted(utterance_id=name, source="made", speaker=speaker, start_ms=now)
        if chance.random() < 0.1:
            yield events.UtteranceDiscarded(
                utterance_id=name, source="made", start_ms=now, end_ms=end, reason="no_speech", detail="It was a cough."
            )
        else:
            judged += 1
            final = _final(chance, name, speaker, now, end, before.get(speaker))
            if judged % 4 == 0:
                yield events.EmotionProvisional(
                    **{
                        field: getattr(final, field)
                        for field in ("utterance_id", "speaker", "start_ms", "end_ms", "emotion", "confidence")
                    },
                    revision=1,
                    probabilities=final.probabilities,
                    modalities={"voice": final.modalities["voice"]},
                )
            before[speaker] = final.emotion
            yield final
        now = end + chance.randrange(100, 1_500)


def _distribution(chance: random.Random) -> dict[str, float]:
    weights = [chance.expovariate(1) ** 2 for _ in MELD7.labels]
    return {label: weight / sum(weights) for label, weight in zip(MELD7.labels, weights, strict=True)}


def _final(
    chance: random.Random, name: str, speaker: str, start: int, end: int, before: str | None
) -> events.EmotionFinal:
    probabilities = _distribution(chance)
    emotion = max(probabilities, key=probabilities.__getitem__)
    modalities = {
        modality: events.Modality(status="ok", gate=1 / 3, probabilities=_distribution(chance))
        for modality in ("text", "voice")
    }
    return events.EmotionFinal(
        utterance_id=name,
        revision=2,
        speaker=speaker,
        start_ms=start,
        end_ms=end,
        text=chance.choice(_LINES),
        language="en",
        emotion=emotion,
        confidence=probabilities[emotion],
        probabilities=probabilities,
        modalities=modalities | {"face": events.Modality(status="absent")},
        shift=events.Shift(from_=before, to=emotion) if before not in (None, emotion) else None,
        latency_ms=events.Latency(endpoint=400, queue=0, asr=150, features=15, fusion=3, total=568),
    )


def page(utterances: int = 10_000, rate: float = 10.0, seconds: float = 20.0) -> dict[str, Any]:
    """The dashboard in Chromium: time to the first event, frames while events arrive, memory of a long call.

    Args:
        utterances: how many the call already has when the page is opened
        rate: events a second that arrive while frames are measured
        seconds: for how long they are measured
    """
    chromium = browser()
    if chromium is None:
        raise UsageError("There is no Chromium here: install it, or name it in the environment variable CHROMIUM.")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UsageError("The Python package playwright is missing: install the extra `dev`.") from None
    feed = Feed(events.new_id(), port=0, memory_bytes=2**30)
    ledger = Ledger(events.new_id(), feed=feed)
    session = conversation(utterances + int(rate * seconds))
    judged = 0
    while judged < utterances:
        event = next(session)
        judged += isinstance(event, events.EmotionFinal)
        ledger.append(event)
    feed.start()
    address = feed.url.replace("ws", "http", 1)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        tab = running.new_page(viewport={"width": 1360, "height": 850})
        tab.goto(address)
        tab.locator("#transcript-count", has_text=f"{utterances:,} utterances").wait_for(timeout=0)
        first = tab.evaluate("performance.getEntriesByName('first event')[0].startTime")
        whole = tab.evaluate("performance.now()")
        devtools = tab.context.new_cdp_session(tab)
        devtools.send("Performance.enable")
        before = _metrics(devtools)
        tab.evaluate(
            "() => { window.frames_ms = []; let last = performance.now(); const next = (now) => {"
            " frames_ms.push(now - last); last = now; requestAnimationFrame(next); }; requestAnimationFrame(next); }"
        )
        begun = time.monotonic()
        for number, event in enumerate(session):
            ledger.append(event)
            time.sleep(max(0.0, begun + (number + 1) / rate - time.monotonic()))
            if time.monotonic() - begun > seconds:
                break
        frames = tab.evaluate("frames_ms.slice(1)")
        after = _metrics(devtools)
        devtools.send("HeapProfiler.collectGarbage")
        kept = _metrics(devtools)
        rows = tab.evaluate("document.querySelectorAll('#transcript article').length")
        running.close()
    feed.stop(grace=0.2)
    percentiles = statistics.quantiles(frames, n=100)
    return {
        "benchmark": "page",
        "utterances": utterances,
        "first_event_ms": round(first),
        "all_shown_ms": round(whole),
        "frames": len(frames),
        "frame_ms": {"p50": percentiles[49], "p95": percentiles[94], "p99": percentiles[98], "max": max(frames)},
        "main_thread_busy": (after["TaskDuration"] - before["TaskDuration"]) / (sum(frames) / 1000),
        "js_heap_mib": kept["JSHeapUsedSize"] / 2**20,
        "dom_nodes": int(kept["Nodes"]),
        "transcript_rows_in_page": rows,
    }


def _metrics(devtools: Any) -> dict[str, float]:
    return {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
