"""The wheel, installed into a fresh environment and run from a folder that is none of the project's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from core_models.installation import downloads_folder

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "tests" / "data" / "librivox" / "sense_and_sensibility_01_0870.flac"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds the wheel; its dependencies are those of the tests."""
    made = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q")
    built = ("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(made), str(ROOT))
    subprocess.run([*pip, *built], check=True, cwd=made)
    (wheel,) = made.glob("*.whl")
    environment = made / "environment"
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    python = programs / ("python.exe" if os.name == "nt" else "python")
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], check=True)
    places = sysconfig.get_paths(vars={"base": str(environment), "platbase": str(environment)})
    # A path file's folders are not searched for path files, so an editable install of the project there stays unseen.
    (Path(places["purelib"]) / "dependencies.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    return programs


def run(installed: Path, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`emotion-tracker` with these arguments in `folder`."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**kept, "XDG_STATE_HOME": str(folder), "COLUMNS": "200", **variables}
    command = [str(installed / "emotion-tracker"), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_program_knows_its_version_and_commands(installed: Path, tmp_path: Path) -> None:
    """`--version` and `--help` answer, and each command answers for itself."""
    assert run(installed, tmp_path, "--version").stdout == "emotion-tracker 0.1.0\n"
    helped = run(installed, tmp_path, "--help")
    assert {"listen", "sessions", "train", "weights"} <= set(helped.stdout.split())
    wrong = run(installed, tmp_path, "listne")
    assert wrong.returncode == 2
    assert "listen" in wrong.stderr


def test_the_manifest_and_the_configs_are_in_it(installed: Path, tmp_path: Path) -> None:
    """The weights are listed as not there yet, and a shipped config is found by its name."""
    listed = run(installed, tmp_path, "weights", "list", EMOTION_TRACKER_HOME=str(tmp_path))
    assert listed.returncode == 0, listed.stderr
    assert "whisper-base" in listed.stdout
    for name in ("listen_demo.yaml", "configs/listen_demo.yaml"):
        shown = run(installed, tmp_path, "listen", "--config", name, "--print-config")
        assert shown.returncode == 0, shown.stderr
        assert "camera_speaker: anna" in shown.stdout


@pytest.mark.weights
def test_a_recording_is_judged_from_any_folder(installed: Path, tmp_path: Path) -> None:
    """`listen` gives events of a recording, with the downloads of EMOTION_TRACKER_HOME."""
    options = ("--file", str(CLIP), "--pace", "fast", "--events", "-", "--port", "-1", "--keep-journal", "false")
    home = str(downloads_folder().resolve())
    done = run(installed, tmp_path, "listen", *options, EMOTION_TRACKER_HOME=home)
    assert done.returncode == 0, done.stderr
    kinds = [json.loads(line)["type"] for line in done.stdout.splitlines()]
    assert kinds[0] == "session.created"
    assert "emotion.final" in kinds


def test_another_package_of_the_name_is_told(installed: Path, tmp_path: Path) -> None:
    """Where another project's `realtime` comes first, the program says so, and what to do."""
    other = tmp_path / "realtime"
    other.mkdir()
    (other / "__init__.py").write_text("")
    done = run(installed, tmp_path, "listen", "--help", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "Another package named realtime" in done.stderr
    assert "environment of its own" in done.stderr
