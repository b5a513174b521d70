"""What README and the configs say can be typed, and works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
HEADERS = [
    line.removeprefix("# ").strip()
    for config in sorted((ROOT / "configs").rglob("*.yaml"))
    for line in config.read_text(encoding="utf-8").splitlines()[:3]
    if line.startswith("# python -m")
]
COMMANDS = sorted({
    line.split("#")[0].strip()
    for line in [*(line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()), *HEADERS]
    if line.startswith("python -m") and "pip install" not in line
})
# These parse their whole command line before anything else and can be asked to stop there.
PARSED = ("realtime.listen", "realtime.bench", "train")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_there_are_commands_to_check() -> None:
    """README shows how to listen, to measure and to train."""
    for module in PARSED:
        assert any(f"-m {module} " in command for command in COMMANDS), module


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[2] in PARSED and "--list-devices" not in c])
def test_options_of_every_command_parse(command: str) -> None:
    """Every option in README and in a config's header exists and takes the value that it is given."""
    arguments = shlex.split(command)[1:]
    done = run(*(a for a in arguments if a != "--json"), "--print_config")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.endswith("--list-devices") or "realtime.events" in c])
def test_commands_that_only_show_something_run(command: str) -> None:
    """They end by themselves with exit code 0, whatever devices there are."""
    done = run(*shlex.split(command)[1:])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_every_listen_config_parses() -> None:
    """configs/listen*.yaml hold options that exist."""
    for config in sorted((ROOT / "configs").glob("listen*.yaml")):
        done = run("-m", "realtime.listen", "--config", str(config), "--print_config")
        assert done.returncode == 0, (config, done.stderr)


def test_make_knows_what_readme_tells() -> None:
    """The make targets of README exist."""
    targets = set(re.findall(r"^make (\w+)", "\n".join(BLOCKS), re.MULTILINE))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), target


def test_every_link_into_the_project_leads_somewhere() -> None:
    """Files that README names by path exist."""
    for path in re.findall(r"\b((?:core_models|realtime|train|configs|tests)/[\w./*-]+\w)", README):
        assert list(ROOT.glob(path)), path
