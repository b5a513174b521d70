"""Pickles from strangers: numbers, words, containers and numpy arrays come through, and nothing else runs.

A pickle is a program that may call anything it can name. Here it can name containers and the stand-ins below,
which build arrays from checked parts; numpy's own constructors never see what the file says.
"""

from __future__ import annotations

import collections
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_models.errors import UsageError

# Booleans, whole and real numbers, bytes and words; no objects, records or dates.
_DTYPE = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|S\d{1,6}|U\d{1,6})")


def load_pickle(path: Path) -> Any:
    """What the pickle `path` holds. Raises UsageError for a file that is none, or asks for anything but data."""
    try:
        with path.open("rb") as file:
            return _Data(file, encoding="latin1").load()  # written by Python 2
    except _RefusedError as refusal:
        raise UsageError(
            f"{path} asks for {refusal}, which a file of features never needs: it was not run, fetch a clean one."
        ) from None
    except (MemoryError, RecursionError):
        raise UsageError(f"{path} is larger than it can be: expected a pickle of features, fetch it again.") from None
    except Exception as error:  # a damaged pickle may raise anything at all
        raise UsageError(f"{path} cannot be read ({error}): expected a pickle of features, fetch it again.") from None


class _RefusedError(pickle.UnpicklingError):
    """The name of what a pickle may not have."""


class _Array(np.ndarray[Any, Any]):
    """An array that takes its contents from a pickle only after a look at them."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        array = _restore_array(raw, dtype, shape, "F" if fortran else "C")
        super().__setstate__((1, array.shape, array.dtype, bool(fortran), array.tobytes("A")))  # type: ignore[arg-type]


class _Dtype:
    """A type of numbers as a pickle describes it: its code when made, its byte order when its state is set."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise _RefusedError("an array of records")
        self.order = state[1]

    def real(self) -> np.dtype[Any]:
        kind: np.dtype[Any] = np.dtype(self.code)
        return kind.newbyteorder(">") if self.order == ">" else kind


class _MakeDtype:
    __slots__ = ()

    def __call__(self, code: object, align: object = False, copy: object = False) -> _Dtype:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise _RefusedError(f"an array of {code!r}")
        return _Dtype(code)


class _Reconstruct:
    __slots__ = ()

    def __call__(self, kind: object, shape: object, code: object) -> _Array:
        if kind is not _NDARRAY or shape != (0,):
            raise _RefusedError("an array of another kind")
        return _Array((0,), np.int8)


class _FromBuffer:
    __slots__ = ()

    def __call__(self, raw: object, dtype: object, shape: object, order: object) -> NDArray[Any]:
        return _restore_array(raw, dtype, shape, order)


class _Scalar:
    __slots__ = ()

    def __call__(self, dtype: object, raw: object) -> Any:
        return _restore_array(raw, dtype, (), "C")[()]


class _Encode:
    __slots__ = ()

    def __call__(self, text: object, encoding: object = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8"):
            raise _RefusedError(f"the encoding {encoding!r}")
        return text.encode(str(encoding))


class _Bytes:
    __slots__ = ()

    # How Python 3 writes an empty one for Python 2.
    def __call__(self) -> bytes:
        return b""


def _restore_array(raw: object, dtype: object, shape: object, order: object) -> NDArray[Any]:
    """A copy of `raw` as an array, once everything fits together."""
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    if not isinstance(raw, bytes | bytearray) or not isinstance(dtype, _Dtype) or order not in ("C", "F"):
        raise _RefusedError("an array whose contents are not plain")
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise _RefusedError(f"an array of the shape {shape!r}")
    real = dtype.real()
    count = 1
    for size in shape:
        count *= size
    if not real.itemsize or len(raw) != count * real.itemsize:
        raise _RefusedError("an array of more than it holds")
    # A copy, since an array over the pickle's own bytes could not be written to.
    return np.frombuffer(raw, real).reshape(shape, order="F" if order == "F" else "C").copy("A")


_NDARRAY = object()
# An allow list: a pickle may name any function of any module, so what is not here is refused, however harmless it
# looks. The community's feature files hold numpy arrays, containers and scalars, and nothing else.
_CONTAINERS = (set, frozenset, list, dict, tuple)
_KNOWN: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _Encode(),
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _MakeDtype(),
}
# Python 2 calls the module of its own types `__builtin__`; the published feature files were written by it.
for _module in ("builtins", "__builtin__"):
    _KNOWN |= {(_module, _kind.__name__): _kind for _kind in _CONTAINERS}
    _KNOWN[_module, "bytes"] = _Bytes()
# numpy 2 renamed its core package: files written before and after name the same functions differently.
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _Reconstruct()
    _KNOWN[f"{_core}.multiarray", "scalar"] = _Scalar()
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _FromBuffer()


class _Data(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None

    def persistent_load(self, identity: object) -> Any:
        raise _RefusedError(f"the object {identity!r} of another program")
