"""Voice prints on disk: kept whole, forgotten on request, and refused in a sentence where they are anything else."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core_models.errors import DiskError
from realtime.diarization.voice_prints import VoicePrintFile

ANNA, BEN = np.eye(2, 192, dtype=np.float32)


def test_prints_are_known_again_and_their_owners_alone_read_them(tmp_path: Path) -> None:
    """What was written is read back; the file has mode 0600, also over one that others could read."""
    path = tmp_path / "prints"
    assert VoicePrintFile(path).read() == {}
    path.write_bytes(b"")
    path.chmod(0o644)
    VoicePrintFile(path).write({"anna": ANNA, "ben": BEN})
    assert path.stat().st_mode & 0o777 == 0o600
    known = VoicePrintFile(path).read()
    assert {name: vector.tolist() for name, vector in known.items()} == {"anna": ANNA.tolist(), "ben": BEN.tolist()}
    assert list(tmp_path.iterdir()) == [path]


def test_who_is_forgotten_leaves_no_print(tmp_path: Path) -> None:
    """The others stay; without anybody left there is no file; who has none is no trouble."""
    path = tmp_path / "prints"
    VoicePrintFile(path).forget({"anna"})
    VoicePrintFile(path).write({"anna": ANNA, "ben": BEN})
    VoicePrintFile(path).forget({"anna", "nobody"})
    assert set(VoicePrintFile(path).read()) == {"ben"}
    assert b"anna" not in path.read_bytes()
    VoicePrintFile(path).forget({"ben"})
    assert not path.exists()


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("anna.npy", bytes(64 * 1024 * 1024))


def _of(vector: NDArray[np.generic], path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, anna=vector)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"nothing"),
        _bomb,
        lambda path: _of(np.array(["x"]), path),
        lambda path: _of(np.full(192, np.nan, np.float32), path),
        lambda path: _of(np.zeros((3, 192), np.float32), path),
        lambda path: _of(np.array([None]), path),
    ],
    ids=["empty", "other", "bomb", "text", "nan", "matrix", "pickle"],
)
def test_anything_else_is_refused_in_a_sentence(tmp_path: Path, make: object) -> None:
    """Empty, foreign, unpacking to 64 MiB, or holding what is no voice: one sentence that says what to do."""
    path = tmp_path / "prints"
    assert callable(make)
    make(path)
    with pytest.raises(DiskError, match="delete it"):
        VoicePrintFile(path).read()


def test_a_torn_file_is_refused_whatever_byte_it_ends_at(tmp_path: Path) -> None:
    """No cut of a file is read as if it were whole, and none ends in anything but the sentence."""
    path = tmp_path / "prints"
    VoicePrintFile(path).write({"anna": ANNA, "ben": BEN})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DiskError, match="delete it"):
            VoicePrintFile(path).read()


def test_one_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    """Any bit of the archive's directory, which says who is in it, and every eighth of the rest."""
    path = tmp_path / "prints"
    VoicePrintFile(path).write({"anna": ANNA, "ben": BEN})
    whole = path.read_bytes()
    for at in [*range(0, len(whole) - 200, 8), *range(len(whole) - 200, len(whole))]:
        for bit in range(8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            try:
                known = VoicePrintFile(path).read()
            except DiskError:
                continue
            assert {name: vector.tolist() for name, vector in known.items()} == {
                "anna": ANNA.tolist(),
                "ben": BEN.tolist(),
            }
