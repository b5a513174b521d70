from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.feed_session import FeedSession, Subscriber
from support.sample_events import CREATED, final
from websockets.sync.client import connect

from core_models.errors import UsageError
from realtime.feed.server import Feed
from realtime.protocol import events
from realtime.protocol import schema as schemas


def get(url: str, path: str, **headers: str) -> tuple[int, str, bytes]:
    """Status, type and body of a plain HTTP request."""
    plain = http.client.HTTPConnection(urlsplit(url).netloc)
    plain.request("GET", path, headers=headers)
    answer = plain.getresponse()
    body = answer.read()
    plain.close()
    return answer.status, answer.getheader("Content-Type", ""), body


def test_health_and_readiness_are_two_things(call: Callable[..., FeedSession]) -> None:
    """/healthz is 200 while the feed lives, /readyz only between session.created and session.closed."""
    it = call()
    seen = []
    for event in (None, CREATED, events.SessionClosed(reason="ended", totals={})):
        if event is not None:
            it.publisher.append(event)
        seen.append((get(it.feed.url, "/healthz")[0], get(it.feed.url, "/readyz")[0]))
    assert seen == [(200, 503), (200, 200), (200, 503)]


@pytest.mark.parametrize("path", ["/healthz", "/schema", "/metrics", "/ticket", "/nowhere"])
def test_other_origins_load_no_answer_as_a_picture_or_script(call: Callable[..., FeedSession], path: str) -> None:
    """Each answer belongs to its own origin, refusals too, so that no page can find out whether the feed runs."""
    plain = http.client.HTTPConnection(urlsplit(call().feed.url).netloc)
    plain.request("GET", path)
    assert plain.getresponse().headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_the_documents_are_served_as_committed(call: Callable[..., FeedSession]) -> None:
    """/schema and /asyncapi.json give the generated documents."""
    it = call()
    for path, kind, name in (
        ("/schema", "application/schema+json", "events.json"),
        ("/asyncapi.json", "application/json", "asyncapi.json"),
    ):
        assert get(it.feed.url, path)[1:] == (kind, (schemas.FOLDER / name).read_bytes())
    json.loads(get(it.feed.url, "/schema")[2])


def figures(text: bytes) -> dict[tuple[str, ...], float]:
    """Values by name and label values, as Prometheus reads them."""
    families = text_string_to_metric_families(text.decode())
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_metrics_tell_what_went_by(call: Callable[..., FeedSession]) -> None:
    """Prometheus reads stage histograms, modalities, drops, the real-time factor, clients and queues of a session."""
    it = call()
    it.feed.metrics.watch_queue("audio", lambda: 7, 3000)
    with Subscriber(it.feed.url):
        it.publisher.append(final(1))
        it.publisher.append(events.StreamDegraded(what="video_frames", count=3))
        it.publisher.append(events.ModalityStatus(modality="face", status="absent"))
        status, kind, body = get(it.feed.url, "/metrics")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    found = figures(body)
    expected = {
        ("emotion_events_total", "emotion.final"): 1,
        ("emotion_stage_seconds_sum", "asr"): 0.1,
        ("emotion_stage_seconds_count", "total"): 1,
        ("emotion_real_time_factor_sum",): 155 / 900,
        ("emotion_modality_results_total", "voice", "ok"): 1,
        ("emotion_modality_available", "voice"): 1,
        ("emotion_modality_available", "face"): 0,
        ("emotion_shed_total", "video_frames"): 3,
        ("emotion_degraded", "video_frames"): 1,
        ("emotion_feed_clients",): 1,
        ("emotion_queue_depth", "audio"): 7,
        ("emotion_queue_capacity", "audio"): 3000,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_a_lagging_client_shows(call: Callable[..., FeedSession]) -> None:
    """The lag of the client that is furthest behind stands in the metrics, and gaps and closings are counted."""
    it = call(queue_limit=20, patience_s=0.2)
    client = Subscriber(it.feed.url, reading=False)
    while not it.feed._fanout.clients:
        time.sleep(0.01)
    lag = 0.0
    while it.feed._fanout.clients:
        it.say(5, size=50_000)
        lag = max(lag, figures(get(it.feed.url, "/metrics")[2])["emotion_feed_lag_events",])
    client.start()
    client.finish()
    found = figures(get(it.feed.url, "/metrics")[2])
    assert lag > 0
    assert found["emotion_feed_lag_events",] == 0
    assert found["emotion_feed_gaps_total", "too_slow"] == 1
    assert found["emotion_feed_closed_total", "1013"] == 1


def test_metrics_ask_for_the_token_and_health_does_not(call: Callable[..., FeedSession]) -> None:
    """Where there is a token /metrics needs it; /healthz, /readyz and the documents hold nothing of the call."""
    it = call(token="open sesame")
    assert get(it.feed.url, "/metrics")[0] == 401
    assert get(it.feed.url, "/metrics", Authorization="Bearer open sesame")[0] == 200
    assert [get(it.feed.url, path)[0] for path in ("/healthz", "/readyz", "/schema", "/asyncapi.json")] == [
        200,
        503,
        200,
        200,
    ]
    assert get(it.feed.url, "/healthz", Host="rebound.example")[0] == 403


def test_with_a_certificate_the_feed_speaks_tls_only(
    call: Callable[..., FeedSession], certificate: tuple[Path, Path]
) -> None:
    """Events come over wss to who trusts the certificate, and nothing to who speaks plainly."""
    made, key = certificate
    it = call(certificate=made, key=key, handshake_s=1.0)
    assert it.feed.url.startswith("wss://")
    origin = "https" + it.feed.url.removeprefix("wss").rstrip("/")
    with connect(it.feed.url, ssl=ssl.create_default_context(cafile=made), origin=origin) as client:
        it.say(1)
        assert b'"code":"1"' in client.recv(decode=False)
    with pytest.raises((OSError, http.client.HTTPException)):
        get(it.feed.url, "/healthz")


def test_a_certificate_that_cannot_be_used_is_one_sentence(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """A missing file, one that is none, a key of another certificate and a key alone say what to give."""
    made, key = certificate
    (tmp_path / "other.pem").write_text("not a certificate")
    for one, other in ((tmp_path / "nowhere.pem", key), (tmp_path / "other.pem", key), (made, made), (None, key)):
        with pytest.raises(UsageError, match="PEM"):
            Feed("s", port=0, certificate=one, key=other)
