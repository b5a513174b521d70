"""Real weights and public-domain speech for every test that needs them; loaded once."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

# Spinning OpenMP threads starve whatever else a test has started; read before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.features.audio.whisper import Whisper
from core_models.features.face.landmarker import FaceFeature
from core_models.features.text.sentence_encoder import TextFeature

ROOT = Path(__file__).resolve().parents[1]
LIBRIVOX = ROOT / "tests" / "data" / "librivox"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs corpora that only researchers have."""
    corpora = Path(os.environ.get("EMOTION_CORPORA", ROOT.parent / "shared" / "data"))
    for item in items:
        if item.get_closest_marker("corpora") and not corpora.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"no corpora in {corpora}: set EMOTION_CORPORA"))


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of the corpora."""
    return Path(os.environ.get("EMOTION_CORPORA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def whisper_base() -> Whisper:
    """Whisper base as a live run on a CPU loads it."""
    return Whisper(model_folder("whisper-base"), device="cpu")


@pytest.fixture(scope="session")
def whisper_tiny() -> Whisper:
    """Whisper tiny.en as a live run on a CPU loads it."""
    return Whisper(model_folder("whisper-tiny.en"), device="cpu")


@pytest.fixture(scope="session")
def face_feature() -> FaceFeature:
    """The face landmarker."""
    return FaceFeature(model_folder("face-landmarker") / "face_landmarker.task")


@pytest.fixture(scope="session")
def text_feature() -> TextFeature:
    """MiniLM as it is fetched, without an adapter."""
    return TextFeature(model_folder("minilm-l6"))


@pytest.fixture(scope="session")
def librivox() -> list[tuple[str, NDArray[np.float32]]]:
    """Public-domain sentences, read aloud: (what is said, samples at 16 kHz)."""
    lines = (LIBRIVOX / "transcripts.txt").read_text(encoding="utf-8").splitlines()
    clips = dict(line.split("\t") for line in lines)
    return [(words, soundfile.read(LIBRIVOX / name, dtype="float32")[0]) for name, words in clips.items()]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("a certificate is made by openssl")
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", made),
        ],
        check=True,
        capture_output=True,
    )
    return made, key
