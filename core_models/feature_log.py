"""Features of a session's utterances on disk, beside its journal: kept only where somebody asked for it.

One JSON object a line: first the specs by modality, then an utterance a line, in the order in which the dialogue
model took them, each array as base64 of little-endian float16. A crash leaves at most one torn line, the last.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from core_models.errors import DiskError
from core_models.feature_spec import FeatureSpec

SUFFIX = ".features.jsonl"
_UNFINISHED = ".part"


def features_path(journal: Path) -> Path:
    """The file of features beside the journal of a session."""
    return journal.with_suffix(SUFFIX)


class _Header(msgspec.Struct, frozen=True):
    specs: dict[str, FeatureSpec]


class _Array(msgspec.Struct, frozen=True):
    shape: tuple[int, ...]
    float16: bytes


class _Utterance(msgspec.Struct, frozen=True):
    utterance_id: str
    speaker: str
    features: dict[str, _Array]


@dataclass(frozen=True)
class Recorded:
    """What was kept of a session: the spec of each modality, and utterance id -> modality -> float32 array."""

    specs: dict[str, FeatureSpec]
    utterances: dict[str, dict[str, NDArray[np.float32]]]


# Stores an utterance's features: its id, its speaker, and the arrays by modality. OSError.
Keep = Callable[[str, str, Mapping[str, NDArray[np.float32]]], None]


class FeatureRecorder:
    """Writes a session's features to `path` (0600), which is made by the first `keep`."""

    def __init__(self, path: Path, specs: Mapping[str, FeatureSpec]) -> None:
        self._path, self._specs = path, dict(specs)
        self._begun = False

    def keep(self, utterance_id: str, speaker: str, features: Mapping[str, NDArray[np.float32]]) -> None:
        """Append one utterance. Where OSError is raised none of it is kept."""
        arrays = {modality: _Array(x.shape, x.astype("<f2").tobytes()) for modality, x in features.items()}
        line = msgspec.json.encode(_Utterance(utterance_id, speaker, arrays)) + b"\n"
        flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
        if not self._begun:
            line = msgspec.json.encode(_Header(self._specs)) + b"\n" + line
            flags |= os.O_CREAT | os.O_EXCL
        descriptor = os.open(self._path, flags, 0o600)
        self._begun = True
        try:
            before = os.fstat(descriptor).st_size
            if os.write(descriptor, line) < len(line):
                os.ftruncate(descriptor, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)


def forget(path: Path, speakers: Collection[str]) -> None:
    """Take what `speakers` said out of a file of features, if there is one: it is whole at any moment. OSError."""
    with suppress(FileNotFoundError):
        header, *lines = path.read_bytes().splitlines(keepends=True) or [b""]
        kept = [line for line in lines if (said := _whole_lines(line)) is not None and said.speaker not in speakers]
        fresh = path.with_suffix(_UNFINISHED)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
        with open(descriptor, "wb") as file:
            file.write(header + b"".join(kept))
            os.fsync(descriptor)
        os.replace(fresh, path)


def remove(journal: Path) -> None:
    """Delete what features the session of `journal` kept. Raises OSError."""
    path = features_path(journal)
    for one in (path, path.with_suffix(_UNFINISHED)):  # a kill may have left the latter
        one.unlink(missing_ok=True)


def _whole_lines(line: bytes) -> _Utterance | None:
    with suppress(msgspec.MsgspecError):
        return msgspec.json.decode(line, type=_Utterance)
    return None


def read(path: Path) -> Recorded | None:
    """What was kept at `path`, None where nothing was. DiskError where it cannot be read or is damaged."""
    try:
        header, *lines = path.read_bytes().splitlines(keepends=True) or [b""]
        if not header.endswith(b"\n"):
            return None
        specs = msgspec.json.decode(header, type=_Header).specs
        utterances = {}
        for line in lines:
            if line.endswith(b"\n"):
                one = msgspec.json.decode(line, type=_Utterance)
                utterances[one.utterance_id] = {modality: _decode_array(x) for modality, x in one.features.items()}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DiskError(f"The features {path} cannot be read ({error.strerror}): check that they are yours.") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise DiskError(f"The features {path} are damaged ({error}): delete the file, the journal stays.") from None
    return Recorded(specs, utterances)


def _decode_array(stored: _Array) -> NDArray[np.float32]:
    return np.frombuffer(stored.float16, "<f2").reshape(stored.shape).astype(np.float32)
