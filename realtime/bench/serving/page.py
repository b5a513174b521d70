"""What the dashboard costs in a long call: Chromium on the real feed, ten thousand utterances, ten events a second."""

from __future__ import annotations

import statistics
import time
from typing import Any

from core_models.errors import UsageError
from realtime.bench.workloads.chromium import FLAGS, browser
from realtime.bench.workloads.synthetic_session import conversation
from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.protocol import events


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
    publisher = EventPublisher(events.new_id(), feed=feed)
    session = conversation(utterances + int(rate * seconds))
    judged = 0
    while judged < utterances:
        event = next(session)
        judged += isinstance(event, events.EmotionFinal)
        publisher.append(event)
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
        before = _read_metrics(devtools)
        tab.evaluate(
            "() => { window.frames_ms = []; let last = performance.now(); const next = (now) => {"
            " frames_ms.push(now - last); last = now; requestAnimationFrame(next); }; requestAnimationFrame(next); }"
        )
        begun = time.monotonic()
        for number, event in enumerate(session):
            publisher.append(event)
            time.sleep(max(0.0, begun + (number + 1) / rate - time.monotonic()))
            if time.monotonic() - begun > seconds:
                break
        frames = tab.evaluate("frames_ms.slice(1)")
        after = _read_metrics(devtools)
        devtools.send("HeapProfiler.collectGarbage")
        kept = _read_metrics(devtools)
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


def _read_metrics(devtools: Any) -> dict[str, float]:
    return {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
