"""Opens a recording: a file of any name, a pipe, headerless PCM, a WAV whose header does not fit."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from core_models.errors import MediaError
from realtime.sources.recording.raw_pcm import EXAMPLE, RawFormat
from realtime.sources.recording.tracks import is_decodable
from realtime.sources.recording.wav_repair import repair_wav

_RAW_HINT = f"if it is headerless PCM, say how it is to be read, as in --raw-format {EXAMPLE}"


@dataclass
class Recording:
    """An open container and what is to be said of it."""

    name: str
    container: Any
    tracks: list[tuple[int, Any]]
    """(number as people count, stream) of every audio track that can be decoded, one at least."""
    can_reopen: bool
    """Whether it may be opened once more from its start; a pipe may not."""
    notes: list[str] = field(default_factory=list)
    """Clauses on what was found wrong."""
    file: Any = None  # that the container reads, where it is not the path

    def close(self) -> None:
        """Close container and file."""
        self.container.close()
        if self.file is not None:
            self.file.close()


def open_recording(path: Path, raw: RawFormat | None = None) -> Recording:
    """The recording at `path`, or on standard input where that is `-`. MediaError for what holds no sound."""
    name = "standard input" if str(path) == "-" else os.fsencode(path.name).decode(errors="replace")
    notes: list[str] = []
    file = None
    is_pipe = str(path) == "-"
    try:
        if not is_pipe:
            found = path.stat()
            is_pipe = not stat.S_ISREG(found.st_mode)
            if not is_pipe and found.st_size == 0:
                raise MediaError(f"{path} is empty: give a recording with sound.")
            if not is_pipe and raw is None and (repaired := repair_wav(path)) is not None:
                file, note = repaired
                notes.append(note)
        # A name such as 12:30.wav would be taken for a protocol.
        place = file or ("pipe:0" if str(path) in ("-", "/dev/stdin") and is_pipe else f"file:{path}")
        if raw is not None:
            container = av.open(place, format=raw.encoding, options=raw.demuxer_options)
        else:
            container = av.open(place, format="wav" if file else None, metadata_errors="ignore")
    except FFmpegError as error:
        raise MediaError(
            f"{path} is no recording that can be read ({error.strerror}): give one with sound, or, {_RAW_HINT}."
        ) from None
    except OSError as error:
        raise MediaError(f"{path} cannot be opened ({error.strerror}): give a recording with sound.") from None
    numbered = list(enumerate(container.streams.audio, start=1))
    tracks = [(number, stream) for number, stream in numbered if is_decodable(stream)]
    lost = [str(number) for number, stream in numbered if not is_decodable(stream)]
    if not tracks:
        container.close()
        if lost:
            raise MediaError(
                f"The sound of {path} is in a codec that cannot be decoded here (Apple's spatial sound, apac, is one): "
                "export it with AAC, or give another recording."
            )
        raise MediaError(f"{path} has no sound: without speech there is nothing to follow; {_RAW_HINT}.")
    notes += [f"its audio track {number} is in a codec that cannot be decoded and was left out" for number in lost]
    return Recording(name, container, tracks, not is_pipe, notes, file)
