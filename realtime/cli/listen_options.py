"""The options of a live run: the dataclass is the schema of the YAML, of `--help` and of the code."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from realtime.cli.feed_options import FeedOptions
from realtime.dialogue.provisional import Provisional
from realtime.segmentation.endpointing import Endpointing

# What a person may want to change about utterances; the rest decides how well voice activity works, was measured once,
# and is for experiments in a config.
_ENDPOINTING_SHOWN = ("silero", "hangover_ms")

# Keys of `Listen` that `--help` names but does not explain.
EXPERIMENTAL = tuple(f"endpointing.{one.name}" for one in fields(Endpointing) if one.name not in _ENDPOINTING_SHOWN)


@dataclass(frozen=True)
class Listen(FeedOptions):
    """Options of a live run."""

    file: Path | None = None
    """A recording instead of microphone and camera: any container with sound, or `-` for standard input."""
    pace: Literal["realtime", "fast"] = "realtime"
    """Play the recording at the pace of real time, or as fast as it can be judged."""
    channels: Literal["mix", "split"] = "mix"
    """Mix the recording's channels, or take each for a speaker of its own (call recorders write such files)."""
    tracks: Literal["mix", "split"] = "mix"
    """Mix the audio tracks of a film (screen recorders keep desktop and microphone apart), or take each for a side."""
    raw_format: str | None = None
    """How to read headerless PCM, as ENCODING:RATE:CHANNELS, such as s16le:16000:1."""
    speakers: Literal["auto"] | int | tuple[str, ...] = ()
    """Names of the speakers: one a channel with `split`, else of the microphone's side and of the system sound's.

    `auto` tells several people apart at one microphone, or in one channel, by their voices; a number says how many
    they are. Without either, that is done for a recording of one channel, and for the other side of a call.
    """
    enrol: tuple[str, ...] = ()
    """With `--speakers auto` or a number, people known by name, as NAME=FILE: ten seconds of one voice are enough."""
    voice_prints: Path | None = None
    """With `--speakers auto` or a number, keep voices in this file and know them again next time; else keep none."""
    source: Literal["devices", "browser"] = "devices"
    """Devices of this computer, or what a page at /capture sends: a browser's microphone, another tab and camera."""
    microphone: str | None = None
    """Microphone by number or part of its name; the system's default if not given (see --list-devices)."""
    system_sound: str = "auto"
    """What this computer plays, as the other side: `auto` where it can be heard, `off`, or a part of a name."""
    analyse: Literal["local", "remote", "both"] = "both"
    """Whose side to analyse: `local` is the microphone, or the first channel of a recording; the rest is `remote`."""
    camera: str | None = "0"
    """Camera by number, path or URL; `null` for none."""
    camera_speaker: str | None = None
    """Whose face the camera sees; the first speaker if not given."""
    video_fps: float = 6.0
    """Pictures a second that the face landmarker looks at."""
    checkpoint: str = "default"
    """Dialogue model: a name under core_models/weights, or a folder."""
    language: str = "auto"
    """Spoken language as a code such as `en`, or `auto` where the recogniser is multilingual."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where Whisper and the dialogue model run."""
    threads: int = 2
    """CPU threads of Whisper; the dialogue model always takes one."""
    endpointing: Endpointing = field(default_factory=Endpointing)
    """When an utterance begins and ends."""
    provisional: Provisional = field(default_factory=Provisional)
    """When an utterance is judged before it has ended; never with a recording at pace `fast`."""
    hold: bool = False
    """Keep feed and page up after a recording has ended, until Ctrl-C; what is wrong can then be corrected."""
    events: str | None = None
    """Write every event as a JSON line to this file, or with `-` to standard output."""
    journal: Path | None = None
    """Folder of the journal; the user's state folder if not given."""
    keep_journal: bool = True
    """Whether to write a journal at all."""
    retention_days: int = 30
    """Journals older than this are deleted at the start of a session."""
    words: bool = True
    """Whether the journal may hold what was said."""
    store_features: bool = False
    """Keep what was computed of words, voice and face beside the journal, for `realtime.replay --rescore` and to train
    on corrections; no sound or picture can be made of it again, but much of what was said can be guessed."""
