"""What the READMEs and the configs say can be typed, and works."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("core_models", "configs", "realtime", "train", "tests", ".github")
PAGES = [ROOT / "README.md", *sorted(page for room in ROOMS for page in (ROOT / room).rglob("*.md"))]
"""README, those of the folders, the cards of checkpoints, and .github/CONTRIBUTING.md."""
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
BLOCKS = [block for text in TEXTS.values() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]
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
# Program -> where its `main` is, and the option that makes it stop once all others are parsed.
PARSED = {
    "realtime.listen": ("realtime.listen", "--print-config"),
    "realtime.bench": ("realtime.bench.suite", "--print-config"),
    "realtime.analyse": ("realtime.cli.recording_batch", "--print-config"),
    "realtime.replay": ("realtime.replay", "--print-config"),
    "realtime.export": ("realtime.export", "--print-config"),
    "train": ("train.__main__", "--print-config"),
    "realtime.journal": ("realtime.journal.session_list", "--help"),
    "realtime.demo": ("realtime.demo.assemble", "--help"),
    "realtime.doctor": ("realtime.doctor", "--help"),
    "core_models.assets": ("core_models.assets", "--help"),
}
# These make something else; CONTRIBUTING and READMEs name them and their own tests run them.
OTHERS = ("venv", "pytest", "pip", "ruff", "mypy", "tests.support.style", "realtime.protocol.schema")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def module_of(command: str) -> str:
    return command.split()[2]


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., None]]:
    """Lets a program parse its arguments, in this process, and stop there."""
    monkeypatch.chdir(ROOT)

    def parse_alone(program: str, arguments: list[str]) -> None:
        module, stop = PARSED[program]
        code: object = "it did not stop"
        try:
            code = importlib.import_module(module).main([*arguments, stop])
        except SystemExit as ended:
            code = ended.code
        told = capsys.readouterr()
        assert code in (0, None), told.err
        assert told.out.strip()
        assert told.err == ""  # an option in its old spelling is answered by a note

    yield parse_alone
    structlog.reset_defaults()  # a program points its log at a stream that ends with the test


def test_there_are_commands_to_check() -> None:
    """The READMEs show every program, and no program that these tests do not know."""
    shown = {module_of(command) for command in COMMANDS}
    assert set(PARSED) <= shown
    assert not {one for one in shown - set(PARSED) if not one.startswith(OTHERS)}


@pytest.mark.parametrize("command", [c for c in COMMANDS if module_of(c) in PARSED and "--list-devices" not in c])
def test_options_of_every_command_parse(command: str, parse: Callable[..., None]) -> None:
    """Every option in a README and in a config's header exists, in today's spelling, and takes its value."""
    _, _, program, *arguments = shlex.split(command)
    parse(program, arguments)


@pytest.mark.parametrize("program", PARSED)
def test_the_programs_start_as_readme_starts_them(program: str) -> None:
    """`python -m PROGRAM` runs the very `main` that the other tests ask, and knows its version."""
    command = next(c for c in COMMANDS if module_of(c) == program and "--list-devices" not in c)
    done = run(*shlex.split(command)[1:], PARSED[program][1])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    version = run("-m", program, "--version")
    assert version.returncode == 0, version.stderr
    assert version.stdout.startswith(f"python -m {program} ")


def test_list_devices_runs() -> None:
    """`--list-devices` ends by itself with exit code 0, whatever devices there are."""
    done = run("-m", "realtime.listen", "--list-devices")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("listen*.yaml")), ids=lambda path: path.stem)
def test_every_listen_config_parses(config: Path, parse: Callable[..., None]) -> None:
    """configs/listen*.yaml hold options that exist."""
    parse("realtime.listen", ["--config", str(config)])


def test_every_training_config_says_how_it_is_run() -> None:
    """The first line of configs/train/*.yaml is the command that reads it, which a test above parses with it."""
    for config in sorted((ROOT / "configs" / "train").glob("*.yaml")):
        first = config.read_text(encoding="utf-8").splitlines()[0]
        assert re.match(rf"# python -m train \w+ .*--config configs/train/{config.name}\b", first), config.name


def test_make_knows_what_readme_tells() -> None:
    """The make targets of the READMEs exist."""
    targets = set(re.findall(r"^make (\w+)", "\n".join(BLOCKS), re.MULTILINE))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), target


def test_every_link_into_the_project_leads_somewhere() -> None:
    """Files that a README names by path, from the root or from its own folder, exist."""
    for page, text in TEXTS.items():
        for path in re.findall(r"\b((?:core_models|realtime|train|configs|tests)/[\w./*-]+\w)", text):
            assert list(ROOT.glob(path)) or list((ROOT / page).parent.glob(path)), f"{page} names {path}"
