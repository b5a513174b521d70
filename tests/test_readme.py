"""What README and the configs say can be typed, and works."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

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
PARSED = {
    "realtime.listen": "realtime.listen",
    "realtime.bench": "realtime.bench.suite",
    "realtime.replay": "realtime.replay",
    "train": "train.__main__",
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[object]:
    """Lets a program parse its arguments, in this process, and stop there."""
    monkeypatch.chdir(ROOT)

    def parse_alone(module: str, arguments: list[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(PARSED[module]).main([*arguments, "--print-config"])
        assert ended.value.code in (0, None), capsys.readouterr().err
        assert capsys.readouterr().out.strip()

    yield parse_alone
    structlog.reset_defaults()  # a program points its log at a stream that ends with the test


def test_there_are_commands_to_check() -> None:
    """README shows how to listen, to measure, to look back and to train."""
    for module in PARSED:
        assert any(f"-m {module} " in command for command in COMMANDS), module


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[2] in PARSED and "--list-devices" not in c])
def test_options_of_every_command_parse(command: str, parse) -> None:
    """Every option in README and in a config's header exists and takes the value that it is given."""
    _, _, module, *arguments = shlex.split(command)
    parse(module, [a for a in arguments if a != "--json"])


@pytest.mark.parametrize("module", PARSED)
def test_the_programs_start_as_readme_starts_them(module: str) -> None:
    """`python -m MODULE` runs the very `main` that the other tests ask."""
    command = next(c for c in COMMANDS if c.split()[2] == module and "--list-devices" not in c and "--json" not in c)
    done = run(*shlex.split(command)[1:], "--print-config")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.endswith("--list-devices")])
def test_commands_that_only_show_something_run(command: str) -> None:
    """They end by themselves with exit code 0, whatever devices there are."""
    done = run(*shlex.split(command)[1:])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("listen*.yaml")), ids=lambda path: path.stem)
def test_every_listen_config_parses(config: Path, parse) -> None:
    """configs/listen*.yaml hold options that exist."""
    parse("realtime.listen", ["--config", str(config)])


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
