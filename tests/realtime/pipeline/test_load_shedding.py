"""A machine that is behind says so at once, and says when it has caught up."""

from __future__ import annotations

from realtime.pipeline.load_shedding import LoadShedder


def test_what_is_shed_is_said_at_once_and_counted_in_the_end() -> None:
    """Degraded above two seconds, recovered below half a second, with the losses between."""
    load = LoadShedder(["provisional", "video_frames"])
    assert load.update_lag(1_900) == []
    begun = load.update_lag(2_100)
    assert [(e.what, e.recovered) for e in begun] == [("provisional", False), ("video_frames", False)]
    assert load.shedding
    load.count_shed("video_frames")
    load.count_shed("video_frames")
    assert load.update_lag(900) == []
    ended = load.update_lag(400)
    assert [(e.what, e.recovered, e.count) for e in ended] == [("provisional", True, 0), ("video_frames", True, 2)]
    assert not load.shedding
    assert load.total["video_frames"] == 2


def test_the_lag_is_a_gauge() -> None:
    """It is what was observed last."""
    load = LoadShedder(["provisional"])
    load.update_lag(700)
    assert load.lag_ms == 700
