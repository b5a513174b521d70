"""Prometheus metrics at the feed's `/metrics`, counted from the events themselves where those say it.

A component with a queue registers it with `Metrics.watch_queue`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from realtime.protocol import events

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Dense around the silence that is waited for (0.4 s) and the wanted 95th percentile of 1.1 s.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.4, 0.6, 0.8, 1.1, 1.5, 2.5, 5, 10)
# Below 1 the machine keeps up; above it utterances queue.
_FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 5)


class _Queues(Collector):
    def __init__(self) -> None:
        self.watched: dict[str, tuple[Callable[[], float], int]] = {}

    def collect(self) -> Iterable[GaugeMetricFamily]:
        depth = GaugeMetricFamily("emotion_queue_depth", "What waits in a queue.", labels=["queue"])
        room = GaugeMetricFamily("emotion_queue_capacity", "What a queue holds at most.", labels=["queue"])
        for name, (measure, capacity) in list(self.watched.items()):
            depth.add_metric([name], measure())
            room.add_metric([name], capacity)
        return depth, room


class Metrics:
    """The figures of one session, in a registry of its own."""

    def __init__(self) -> None:
        # A registry of its own: several feeds in one process, as in tests and benchmarks, do not mix.
        self._registry = registry = CollectorRegistry()
        self._queues = _Queues()
        registry.register(self._queues)
        self._events = Counter("emotion_events", "Events by type.", ["type"], registry=registry)
        self._stages = Histogram(
            "emotion_stage_seconds",
            "Where the time from end of speech to emotion.final went.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._factor = Histogram(
            "emotion_real_time_factor",
            "Seconds of work (words, features, fusion) for a second of speech.",
            buckets=_FACTORS,
            registry=registry,
        )
        self._results = Counter(
            "emotion_modality_results", "Judgements by a modality's status.", ["modality", "status"], registry=registry
        )
        self._available = Gauge(
            "emotion_modality_available", "Whether the latest result has a modality.", ["modality"], registry=registry
        )
        self._behind = Gauge(
            "emotion_lag_seconds", "Age of the oldest utterance that has ended and is not judged.", registry=registry
        )
        self._discarded = Counter("emotion_discarded", "Discarded by reason.", ["reason"], registry=registry)
        self._shed = Counter("emotion_shed", "What was shed or lost, by kind.", ["what"], registry=registry)
        self._degraded = Gauge("emotion_degraded", "Whether something is degraded now.", ["what"], registry=registry)
        self._errors = Counter("emotion_errors", "Errors by code.", ["code"], registry=registry)
        self._lag = Gauge("emotion_feed_lag_events", "Events by which the last client is behind.", registry=registry)
        self._clients = Gauge("emotion_feed_clients", "Clients at the moment.", registry=registry)
        self.closed = Counter("emotion_feed_closed", "Connections by close code.", ["code"], registry=registry)
        """By close code; what the feed closed itself."""
        self.gaps = Counter("emotion_feed_gaps", "Gaps announced to clients.", ["reason"], registry=registry)
        """By reason."""
        self.commands = Counter("emotion_commands", "Commands by what became of them.", ["code"], registry=registry)
        """By the code of the answer, `ok` where it was done."""

    def watch_queue(self, queue: str, depth: Callable[[], float], capacity: int) -> None:
        """Show how full a queue is; `depth` is called from the feed's thread for each request."""
        self._queues.watched[queue] = depth, capacity

    def watch_lag(self, lag_ms: Callable[[], float]) -> None:
        """Show how long the oldest utterance that has ended waits for its result."""
        self._behind.set_function(lambda: lag_ms() / 1000)

    def watch_feed(self, clients: Callable[[], float], lag: Callable[[], float]) -> None:
        """Show how many clients there are and how far the last is behind."""
        self._clients.set_function(clients)
        self._lag.set_function(lag)

    def count_event(self, event: events.Logged) -> None:
        """Count an event."""
        self._events.labels(event.__struct_config__.tag).inc()
        match event:
            case events.EmotionFinal():
                stages = msgspec.structs.asdict(event.latency_ms)
                for stage, milliseconds in stages.items():
                    if milliseconds is not None:
                        self._stages.labels(stage).observe(milliseconds / 1000)
                spoken = event.end_ms - event.start_ms
                latency = event.latency_ms
                if spoken > 0:
                    self._factor.observe((latency.asr + latency.features + latency.fusion) / spoken)
                for modality, one in event.modalities.items():
                    self._results.labels(modality, one.status).inc()
                    self._available.labels(modality).set(one.status == "ok")
            case events.ModalityStatus():
                self._available.labels(event.modality).set(event.status == "ok")
            case events.UtteranceDiscarded():
                self._discarded.labels(event.reason).inc()
            case events.StreamDegraded():
                self._shed.labels(event.what).inc(event.count)
                self._degraded.labels(event.what).set(not event.recovered)
            case events.Error():
                self._errors.labels(event.code).inc()

    def render_text(self) -> bytes:
        """All figures in Prometheus's text format."""
        return generate_latest(self._registry)
