"""Digests of what a feature is computed from: its content, not its name."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path


def digest_of(*parts: bytes | str) -> str:
    """SHA-256 (hex) over `parts`, each with its length, so that no two lists of parts run together."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "little"))
        sha.update(data)
    return sha.hexdigest()


def digest_of_file(kind: str, path: Path, part: str) -> str:
    """`digest(kind, <bytes of path>, part)`; a long recording is read once for all of its parts. Raises OSError."""
    status = path.stat()
    sha = _digest_file_start(kind, path, status.st_size, status.st_mtime_ns).copy()
    sha.update(len(part.encode()).to_bytes(8, "little"))
    sha.update(part.encode())
    return sha.hexdigest()


@lru_cache(maxsize=8)
def _digest_file_start(kind: str, path: Path, size: int, changed: int) -> hashlib._Hash:
    sha = hashlib.sha256()
    sha.update(len(kind.encode()).to_bytes(8, "little"))
    sha.update(kind.encode())
    sha.update(size.to_bytes(8, "little"))
    with path.open("rb") as file:
        # A MiB at a time: a film need not fit into memory.
        while chunk := file.read(1 << 20):
            sha.update(chunk)
    return sha
