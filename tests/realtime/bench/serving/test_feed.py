from __future__ import annotations

from realtime.bench.serving.feed import feed


def test_the_feed_is_measured_and_keeps_its_word() -> None:
    """A small run of `bench feed`: everybody gets every event while one never reads, clients that are cut together get
    each number once, and after each kill -9 the journal holds all that was seen."""
    found = feed(subscribers=(5,), messages=3, resumed=20, resumed_events=100, kills=3)
    assert found["encoded_per_s"] > 0
    fan_out = found["5_subscribers"]
    assert fan_out["never_reading"] == 1
    assert 0 < fan_out["feed_p50_ms"] <= fan_out["feed_p99_ms"]
    resumed = found["resumed"]
    assert [resumed[name] for name in ("missing", "twice", "gaps", "closed")] == [0, 0, 0, {}]
    killed = found["killed"]
    assert killed["lives"] == killed["epochs"] == 3
    assert killed["events_seen"] > 0
    assert killed["then_a_new_epoch"]
    assert [
        killed[name] for name in ("seen_but_not_in_the_journal", "seen_twice", "missing_between", "gaps")
    ] == [0, 0, 0, 0]
