"""Options in one style: kebab-case on the command line, underscores in files, lists by commas, errors as sentences."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from jsonargparse import ArgumentParser, Namespace

from core_models.command_line.options import build_parser, hide_options, read_options
from core_models.errors import UsageError


@dataclass(frozen=True)
class Pause:
    """A part of the options."""

    hangover_ms: int = 400
    """Silence that ends it."""
    gate_db: float = 1.0
    """Level."""


@dataclass(frozen=True)
class Options:
    """All of them."""

    session: str = "latest"
    """Which."""
    video_fps: float = 6.0
    """Pictures."""
    pace: Literal["realtime", "fast"] = "fast"
    """How fast."""
    speakers: Literal["auto"] | tuple[str, ...] = ()
    """Who."""
    seeds: tuple[int, ...] = ()
    """Of chance."""
    clips: list[Path] = field(default_factory=list)
    """Files."""
    data: dict[str, Path] = field(default_factory=dict)
    """Name -> folder."""
    model: dict[str, Any] = field(default_factory=dict)
    """Settings."""
    pausing: Pause = field(default_factory=Pause)
    """When."""
    second: Pause | None = None
    """When else."""


@pytest.fixture
def parser() -> ArgumentParser:
    made = build_parser("python -m program", "A program.")
    made.add_argument("--list-devices", action="store_true")
    made.add_argument("--checkpoint", nargs="+", default=[])
    made.add_class_arguments(Options)
    return made


@pytest.mark.parametrize(
    ("kebab", "underscored"),
    [
        ("--video-fps=3", "--video_fps=3"),
        ("--pausing.hangover-ms=7", "--pausing.hangover_ms=7"),
        ("--second.gate-db=2", "--second.gate_db=2"),
        ("--list-devices", "--list_devices"),
    ],
)
def test_the_old_spelling_is_taken_with_a_note(
    parser: ArgumentParser, capsys: pytest.CaptureFixture[str], kebab: str, underscored: str
) -> None:
    """Both spellings mean the same; only the old one is answered by a note, on standard error, that has the new one."""
    new = read_options(parser, [kebab])
    assert capsys.readouterr() == ("", "")
    assert read_options(parser, [underscored]) == new != read_options(parser, [])
    out, told = capsys.readouterr()
    assert out == ""
    assert kebab.partition("=")[0] in told
    assert len(told.splitlines()) == 1


def test_files_keep_their_underscores(
    parser: ArgumentParser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A config's keys are the fields' names, `--print-config` prints them, and neither spelling of it is noted."""
    (tmp_path / "a.yaml").write_text("video_fps: 2\npausing: {hangover_ms: 9}\n")
    read = read_options(parser, ["--config", str(tmp_path / "a.yaml")])
    assert (read.video_fps, read.pausing.hangover_ms) == (2.0, 9)
    for spelling in ("--print-config", "--print_config"):
        with pytest.raises(SystemExit):
            read_options(parser, ["--video-fps=2", spelling])
        printed = capsys.readouterr()
        assert "video_fps: 2.0" in printed.out
        assert printed.err == ""


@pytest.mark.parametrize(
    ("given", "field_", "value"),
    [
        (["--speakers", "anna,ben"], "speakers", ("anna", "ben")),
        (["--speakers", "anna, ben"], "speakers", ("anna", "ben")),
        (["--speakers=[anna,ben]"], "speakers", ("anna", "ben")),
        (["--speakers", "yes,007"], "speakers", ("yes", "007")),
        (["--speakers", "auto"], "speakers", "auto"),
        (["--seeds", "1,2"], "seeds", (1, 2)),
        (["--seeds=3"], "seeds", (3,)),
        (["--clips", "a b.wav,c"], "clips", [Path("a b.wav"), Path("c")]),
        (["--checkpoint", "one,two", "three"], "checkpoint", ["one", "two", "three"]),
        (["--data.my_corpus", "x"], "data", {"my_corpus": Path("x")}),
        (["--data.my-corpus", "x"], "data", {"my-corpus": Path("x")}),
        (["--model.feed-forward", "8"], "model", {"feed_forward": 8}),
    ],
)
def test_lists_are_taken_with_commas_or_in_brackets(
    parser: ArgumentParser, given: list[str], field_: str, value: object
) -> None:
    """`a,b` is a list where a list is wanted, words of a choice beside it are not, and a mapping's keys stay theirs."""
    assert read_options(parser, given)[field_] == value


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--vido-fps", "3"], "Did you mean --video-fps?"),
        (["--video_fp", "3"], "Did you mean --video-fps?"),
        (["--pausing.hangovr-ms=3"], "Did you mean --pausing.hangover-ms?"),
        (["--second.gate=3"], "Did you mean --second.gate-db?"),
        (["--pace", "realtim"], "expected realtime or fast. Did you mean realtime?"),
        (["--video-fps", "x"], "--video-fps cannot be x: expected a number."),
        (["--second.hangover-ms", "x"], "--second.hangover-ms cannot be x: expected a whole number."),
        (["--seeds", "1,x"], "expected a list such as 1,2"),
        (["--video-fps"], "--video-fps needs a value"),
        (["stray"], "stray is more than this command takes"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_what_is_wrong_is_one_sentence(parser: ArgumentParser, given: list[str], told: str) -> None:
    """One or two lines say what was wrong and what is close to it, never a wall of usage."""
    with pytest.raises(UsageError) as refused:
        read_options(parser, given)
    assert told in str(refused.value)
    assert len(str(refused.value)) < 240


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("vido_fps: 3", "vido_fps. Did you mean video_fps?"),
        ("pausing: {hangovr_ms: 3}", "pausing.hangovr_ms. Did you mean pausing.hangover_ms?"),
        ("second: {hangovr_ms: 3}", "hangovr_ms. Did you mean hangover_ms?"),
        ("video_fps: [", "Problems parsing config"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_sentence(
    parser: ArgumentParser, tmp_path: Path, content: str, told: str
) -> None:
    """A wrong key of a config is named with the key that it resembles."""
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(UsageError) as refused:
        read_options(parser, [f"--config={tmp_path / 'a.yaml'}"])
    assert told in str(refused.value)


def test_help_shows_dashes_and_no_wall(parser: ArgumentParser, capsys: pytest.CaptureFixture[str]) -> None:
    """Help spells options with dashes, its usage is one line, and hidden options are but named at its end."""
    hide_options(parser, ["pausing.gate_db"])
    with pytest.raises(SystemExit):
        read_options(parser, ["--help"])
    told = capsys.readouterr().out
    assert told.splitlines()[:2] == ["usage: python -m program [--option VALUE ...]", ""]
    assert "--pausing.hangover-ms" in told
    assert "--pausing.gate-db" not in told
    assert "Further keys, for experiments: pausing.gate_db." in told
    assert read_options(parser, ["--pausing.gate-db=4"]).pausing == Pause(gate_db=4.0)


def test_a_missing_argument_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """What must be given is named; nothing is printed by the parser itself."""
    parser = build_parser("python -m program", None)
    parser.add_argument("file", type=Path)
    with pytest.raises(UsageError, match="FILE is missing; see `python -m program --help`"):
        read_options(parser, [])
    assert isinstance(read_options(parser, ["x"]), Namespace)
    parser.add_argument("--first-clip", required=True)
    with pytest.raises(UsageError, match="FILE, --first-clip are missing"):
        read_options(parser, [])
    assert capsys.readouterr() == ("", "")
