"""The catalogues of `bench trust`, scaled down: nothing of who opted out is left, nothing changes silently."""

from __future__ import annotations

import pytest

from realtime.bench.serving.trust import trust


@pytest.fixture(scope="module")
def catalogues() -> dict[str, dict[str, object]]:
    return {one["name"]: one for one in trust(flips=60, mutants=25)["catalogues"]}


@pytest.mark.parametrize("name", ["consent", "second_writer", "readers", "hostile_text", "damage"])
def test_no_attack_of_a_catalogue_succeeds(catalogues: dict[str, dict[str, object]], name: str) -> None:
    """Each catalogue tries something, and nothing of it fails."""
    assert isinstance(catalogues[name]["tried"], int)
    assert catalogues[name]["tried"] > 0
    assert catalogues[name]["failed"] == 0, catalogues[name]
