"""Read the tensors of a CTranslate2 `model.bin`, for the digest that goes into a feature's spec."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core_models.errors import WeightsError

# The order of CTranslate2's own DataType enumeration; numpy has no bfloat16, so its bits stand in.
_DTYPES = ("<f4", "<i1", "<i2", "<i4", "<f2", "<u2")
# Those that are known to be laid out so: another one is refused rather than read at a guess.
_VERSIONS = (4, 5, 6)


class _Cursor:
    """Little-endian reads that notice the end of the file."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def skip_bytes(self, size: int) -> int:
        start = self.at
        if start + size > len(self.data):
            raise ValueError("it ends too early")
        self.at = start + size
        return start

    def read_number(self, layout: str) -> int:
        size = struct.calcsize(layout)
        value: int = struct.unpack_from(layout, self.data, self.skip_bytes(size))[0]
        return value

    def read_string(self) -> str:
        size = self.read_number("<H")
        start = self.skip_bytes(size)
        text = self.data[start : start + size]
        if not text.endswith(b"\0"):
            raise ValueError("a name in it is not terminated")
        return text[:-1].decode()


def read_tensors(path: Path, prefix: str = "") -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yield (name, tensor) for every variable of a CTranslate2 model whose name starts with `prefix`.

    The layout is version, spec name, spec revision, count, then per variable name, rank, dimensions,
    type, byte count and bytes; aliases (name, name) come last and are not yielded. The arrays are
    read-only views into the mapped file: copy what must outlive the iteration. Raises WeightsError
    when the file is missing, of another version, or does not add up to its last byte.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield from _parse_tensors(_Cursor(data), prefix)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is not a readable CTranslate2 model ({error}): fetch it again with "
            "`python -m core_models.assets fetch`."
        ) from error


def _parse_tensors(cursor: _Cursor, prefix: str) -> Iterator[tuple[str, NDArray[np.generic]]]:
    version = cursor.read_number("<I")
    if version not in _VERSIONS:
        raise ValueError(f"binary version {version} is not one of {_VERSIONS}")
    cursor.read_string()
    cursor.read_number("<I")
    for _ in range(cursor.read_number("<I")):
        name = cursor.read_string()
        shape = tuple(cursor.read_number("<I") for _ in range(cursor.read_number("<B")))
        code = cursor.read_number("<B")
        if code >= len(_DTYPES):
            raise ValueError(f"{name} has the unknown type {code}")
        dtype = np.dtype(_DTYPES[code])
        size = cursor.read_number("<I")
        if size != dtype.itemsize * int(np.prod(shape, dtype=np.int64)):
            raise ValueError(f"{name} has {size} bytes, which is not {dtype.name} of shape {shape}")
        start = cursor.skip_bytes(size)
        if name.startswith(prefix):
            # bytes, not a view: a view would keep the mapping from closing.
            yield name, np.frombuffer(cursor.data[start : start + size], dtype=dtype).reshape(shape)
    for _ in range(cursor.read_number("<I")):
        cursor.read_string(), cursor.read_string()
    if cursor.at != len(cursor.data):
        raise ValueError(f"{len(cursor.data) - cursor.at} bytes are left over")
