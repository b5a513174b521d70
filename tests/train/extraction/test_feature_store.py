"""The feature store: nothing twice, nothing lost but an unfinished shard, nothing of another feature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from core_models.errors import DiskError
from core_models.feature_spec import FeatureSpec
from train.extraction.feature_store import VECTORS_A_SHARD, FeatureStore
from train.media.content_digest import digest_of

SPEC = FeatureSpec(modality="voice", name="test", version=1, dimension=3, digest="d" * 64, settings={"margin": 200})


def vector(number: int) -> np.ndarray:
    return np.full(3, number, np.float32)


def test_what_was_put_is_there_again(tmp_path: Path) -> None:
    """Vectors and the knowledge that there is nothing to find come back from disk as they were."""
    store = FeatureStore(tmp_path, SPEC)
    store.put("a", vector(1))
    store.put("b", None)
    store.flush()
    again = FeatureStore(tmp_path, SPEC)
    assert len(again) == 2
    np.testing.assert_array_equal(again["a"], vector(1))
    assert again["b"] is None
    assert "a" in again
    assert "b" in again
    assert "c" not in again


def test_kill_costs_the_last_shard_alone(tmp_path: Path) -> None:
    """A store that was never flushed holds every full shard; two stores may fill one folder at once."""
    first, second = FeatureStore(tmp_path, SPEC), FeatureStore(tmp_path, SPEC)
    for number in range(VECTORS_A_SHARD + 5):
        first.put(f"first {number}", vector(number))
        second.put(f"second {number}", vector(number))
    again = FeatureStore(tmp_path, SPEC)
    assert len(again) == 2 * VECTORS_A_SHARD
    np.testing.assert_array_equal(again[f"second {VECTORS_A_SHARD - 1}"], vector(VECTORS_A_SHARD - 1))


def test_damaged_shard_is_done_without(tmp_path: Path) -> None:
    """A shard cut short, or one that was being written, costs its own vectors and no error."""
    store = FeatureStore(tmp_path, SPEC)
    for name in ("a", "b"):
        store.put(name, vector(1))
        store.flush()
    shards = sorted(store.folder.glob("*.safetensors"))
    shards[0].write_bytes(shards[0].read_bytes()[:-4])
    (store.folder / "half.part").write_bytes(b"half")
    assert len(FeatureStore(tmp_path, SPEC)) == 1


@pytest.mark.parametrize("change", [{"version": 2}, {"digest": "e" * 64}, {"settings": {"margin": 100}}])
def test_another_feature_has_another_store(tmp_path: Path, change: dict[str, object]) -> None:
    """Whatever changes in the spec, vectors of the old one are not found."""
    store = FeatureStore(tmp_path, SPEC)
    store.put("a", vector(1))
    store.flush()
    assert len(FeatureStore(tmp_path, replace(SPEC, **change))) == 0
    assert len(FeatureStore(tmp_path, SPEC)) == 1


def test_parts_of_a_digest_do_not_run_together() -> None:
    """The same bytes in other parts have another digest."""
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of("ab") == digest_of(b"ab")


def test_store_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    """A root that is a file ends in a DiskError that names the option."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="--store"):
        FeatureStore(tmp_path / "file", SPEC)
