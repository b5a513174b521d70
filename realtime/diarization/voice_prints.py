"""The file of voice prints, of this call and of earlier ones: bounded when read, whole whenever it is written."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core_models.atomic_write import reason_of, write_atomically
from core_models.errors import DiskError

# A print of 192 numbers takes 1 KiB: a thousand people, more than any owner enrols, stay far below it.
_LARGEST_FILE = 4 * 1024 * 1024

Vector = NDArray[np.float32]


class VoicePrintFile:
    """Voice prints by name, for the eyes of the owner alone; a store of the session (realtime/journal/stores.py)."""

    holds = "the voice prints"

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Vector]:
        """Everybody's vector by name; none where there is no file. DiskError where it holds anything else."""
        try:
            with self._path.open("rb") as file, zipfile.ZipFile(file) as archive:
                # A small archive can unpack to gigabytes: what its parts say of themselves is asked first.
                if max(os.fstat(file.fileno()).st_size, sum(i.file_size for i in archive.infolist())) > _LARGEST_FILE:
                    raise ValueError("it is too large")
                # The archive's end says how many parts there are: a damaged directory would hide people.
                file.seek(-12, os.SEEK_END)
                if int.from_bytes(file.read(2), "little") != len(archive.infolist()):
                    raise ValueError("its directory is damaged")
                file.seek(0)
                with np.load(file, allow_pickle=False) as prints:
                    vectors = {name: prints[name] for name in prints.files}
            for name, vector in vectors.items():
                if vector.ndim != 1 or vector.dtype.kind != "f" or not np.isfinite(vector).all() or not vector.any():
                    raise ValueError(f"{name!r} is no vector of a voice")
        except FileNotFoundError:
            return {}
        # Whatever the archive's and the arrays' readers raise on files that others made.
        except Exception as error:
            raise DiskError(
                f"{self._path} holds no voice prints that can be read ({reason_of(error)}): delete it."
            ) from None
        return {name: vector.astype(np.float32) for name, vector in vectors.items()}

    def write(self, prints: Mapping[str, Vector]) -> None:
        """Keep these and no others; without any there is no file. DiskError."""
        if not prints:
            with suppress(FileNotFoundError):
                self._path.unlink()
            return
        write_atomically(self._path, lambda path: _write_archive(path, prints), "give another file")

    def forget(self, people: Collection[str]) -> None:
        """Take their voices out, those of earlier calls among them. DiskError."""
        prints = self.read()
        kept = {name: vector for name, vector in prints.items() if name not in people}
        if len(kept) < len(prints):
            self.write(kept)


def _write_archive(path: Path, prints: Mapping[str, Vector]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(descriptor, "wb") as out:
        np.savez(out, **prints)  # type: ignore[arg-type]
