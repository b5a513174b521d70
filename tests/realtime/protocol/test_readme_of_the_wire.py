"""What the READMEs of wire and feed list is what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
from support.sample_events import CREATED, final, fold_snapshot

from realtime.feed.metrics import Metrics
from realtime.protocol import commands, events

ROOT = Path(events.__file__).parents[1]
WIRE = (ROOT / "protocol" / "README.md").read_text(encoding="utf-8")
FEED = (ROOT / "feed" / "README.md").read_text(encoding="utf-8")


def test_every_message_and_command_has_its_row_and_no_other() -> None:
    """The tables list every type of the wire, and nothing that the wire does not have."""
    kinds = [kind.__struct_config__.tag for kind in (*get_args(events.Message), *get_args(commands.Command))]
    listed = [row for row in re.findall(r"^\| `([a-z_.]+)` \|", WIRE, re.MULTILINE) if row in kinds or "." in row]
    assert sorted(listed) == sorted(kinds)


def test_every_field_of_an_event_is_named() -> None:
    """Each row names the fields of its type as they are on the wire."""
    for kind in get_args(events.Logged):
        tag = kind.__struct_config__.tag
        row = next(line for line in WIRE.splitlines() if line.startswith(f"| `{tag}` |"))
        fields = {field.encode_name for field in msgspec.structs.fields(kind)} - {"seq", "epoch", "session"}
        if kind is not events.EmotionProvisional:  # told as what it lacks of the final one
            assert fields == set(re.findall(r"`([a-z_]+)`", row.split("|")[3])), tag


def test_every_metric_is_named() -> None:
    """The feed's README names the metrics that a scrape gives."""
    families = set(re.findall(r"^# TYPE (emotion_\w+) \w+$", Metrics().render_text().decode(), re.MULTILINE))
    families = {name for name in families if not name.endswith("_created")}
    assert families == set(re.findall(r"`(emotion_\w+)`", FEED))


def test_a_snapshot_of_two_speakers_is_small() -> None:
    """Below 8 KiB, however long the call."""
    told = [final(number, speaker=("ann", "ben")[number % 2]) for number in range(200)]
    assert len(events.encode(fold_snapshot(CREATED, *told))) < 8 * 1024
