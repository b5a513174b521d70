"""Pickles from strangers: data comes through whole, and nothing in them runs."""

from __future__ import annotations

import builtins
import collections
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from core_models.errors import UsageError
from train.corpora.safe_unpickle import load_pickle

PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.binary(max_size=5)
)
ARRAYS = arrays.arrays(
    st.sampled_from(["f4", ">f8", "i8", "u1", "?", "S3", "U2"]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
).map(lambda array: array if array.ndim < 2 else np.asfortranarray(array))
DATA = st.recursive(
    PLAIN | ARRAYS | st.sampled_from([np.float32(1.5), np.int64(3)]) | st.frozensets(st.integers()),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


class Calls:
    """Pickled as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def write(path: Path, data: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(data, protocol))
    return path


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        one, other = (array.astype(array.dtype.newbyteorder("=")) for array in (one, other))  # numpy may swap bytes
        return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    return bool(type(one) is type(other) and one == other)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=DATA, protocol=st.sampled_from([0, 1, 2, 3, 4, 5]))
def test_data_comes_through_whole(tmp_path: Path, data: object, protocol: int) -> None:
    """Numbers, words, containers, arrays and numpy's scalars are what they were, in every protocol."""
    assert same(data, load_pickle(write(tmp_path / "data.pkl", data, protocol)))


@pytest.mark.parametrize(
    "call",
    [
        Calls(os.system, "touch {mark}"),
        Calls(eval, "open('{mark}', 'w')"),
        Calls(builtins.exec, "open('{mark}', 'w')"),
        Calls(builtins.open, "{mark}", "w"),
        Calls(builtins.__import__, "os"),
        Calls(subprocess.Popen, ["touch", "{mark}"]),
        Calls(getattr, Calls(__import__, "os"), "system"),
        Calls(np.load, "{mark}"),
        Calls(np.lib.format.open_memmap, "{mark}", "w+"),
        Calls(collections.deque, [1]),
        Calls(Path, "{mark}"),
    ],
    ids=lambda call: getattr(call.call[0], "__qualname__", "call"),
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_what_would_run_is_refused_and_does_not_run(tmp_path: Path, call: Calls, protocol: int) -> None:
    """A pickle that calls anything is refused in one sentence that names it, wherever the call stands."""
    mark = tmp_path / "ran"
    function, arguments = call.call
    arguments = tuple(a.format(mark=mark) if isinstance(a, str) else a for a in arguments)
    for number, data in enumerate((Calls(function, *arguments), {"a": [1, Calls(function, *arguments)]})):
        path = write(tmp_path / f"{number}.pkl", data, protocol)
        with pytest.raises(UsageError, match="asks for .*not run") as refusal:
            load_pickle(path)
        assert "\n" not in str(refusal.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    "array",
    [
        np.array([Calls(os.system, "touch ran"), None], dtype=object),
        np.array([1, "a"], dtype=object),
        np.zeros(2, dtype=[("a", "f4"), ("b", "O")]),
        np.zeros(2, dtype="M8[s]"),
        np.zeros(2, dtype="V8"),
    ],
    ids=["calls", "objects", "records", "dates", "void"],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_of_anything_but_numbers_and_words_are_refused(tmp_path: Path, array: Any, protocol: int) -> None:
    """Arrays of objects, records or raw memory do not come through."""
    with pytest.raises(UsageError, match="asks for"):
        load_pickle(write(tmp_path / "array.pkl", array, protocol))


@pytest.mark.parametrize(
    ("code", "shape", "raw"),
    [("f4", (4,), b"1234"), ("f4", (-1,), b"1234"), ("f4", (2**62, 4), b""), ("O8", (1,), b"12345678")],
)
def test_arrays_that_lie_about_their_size_are_refused(
    tmp_path: Path, code: str, shape: tuple[int, ...], raw: bytes
) -> None:
    """An array that claims more than it holds, or a pointer where a number should be, never reaches numpy."""

    class Lies:
        def __reduce__(self) -> Any:
            reconstruct, arguments, _ = np.zeros(1).__reduce__()
            return reconstruct, arguments, (1, shape, Typed(code), False, raw)

    class Typed:
        def __init__(self, code: str) -> None:
            self.code = code

        def __reduce__(self) -> Any:
            return (
                np.dtype,
                (self.code, False, True),
                (3, "|" if "O" in self.code else "<", None, None, None, -1, -1, 0),
            )

    with pytest.raises(UsageError, match="asks for an array"):
        load_pickle(write(tmp_path / "lies.pkl", Lies()))


@pytest.mark.parametrize("raw", [b"", b"no pickle", pickle.dumps([1, 2, 3])[:-3], b"\x80\x04\x95\xff"])
def test_damaged_pickles_end_in_one_sentence(tmp_path: Path, raw: bytes) -> None:
    """A file that is cut off, or no pickle at all, is named."""
    (tmp_path / "broken.pkl").write_bytes(raw)
    with pytest.raises(UsageError, match=r"broken\.pkl cannot be read"):
        load_pickle(tmp_path / "broken.pkl")


def test_one_pickle_leaves_nothing_behind_for_the_next(tmp_path: Path) -> None:
    """Attributes that a pickle would set on what it may name are refused, so the next one meets no surprise."""
    for name in ("numpy.core.multiarray\n_reconstruct", "numpy\ndtype", "numpy\nndarray", "builtins\nlist"):
        (tmp_path / "set.pkl").write_bytes(b"c" + name.encode() + b"\nN}S'__call__'\nI1\ns\x86b.")
        with pytest.raises(UsageError, match="cannot be read"):
            load_pickle(tmp_path / "set.pkl")
    assert same([np.ones(2)], load_pickle(write(tmp_path / "fine.pkl", [np.ones(2)])))
