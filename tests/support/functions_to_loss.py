"""`python -m tests.support.functions_to_loss [CONFIG ...]`: how far it is from `train fit` to the loss.

Trains each config (configs/train/sdt_meld.yaml and default.yaml, unless others are named) on miniature corpora until
its objective is called for the first time, and counts the functions of the project that ran on the way, each once:
what a reader passes through to understand a step. Comprehensions, class bodies and generated code do not count.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FrameType

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # as pytest's pythonpath has it

from support.miniature_corpora import Miniature, write_fer2013, write_meld, write_ravdess  # noqa: E402

from core_models.assets import model_folder  # noqa: E402
from core_models.features.face.landmarker import FaceFeature  # noqa: E402
from train.__main__ import main  # noqa: E402

CONFIGS = ("configs/train/sdt_meld.yaml", "configs/train/default.yaml")
ENDS_IN = ROOT / "train" / "losses"


class ReachedLoss(BaseException):
    """The objective is called: nothing after it is counted."""


def count_functions(arguments: Sequence[str]) -> Counter[str]:
    """File -> functions of it that ran between `python -m train` with `arguments` and the loss."""
    found: set[CodeType] = set()

    def note_call(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        path = Path(code.co_filename)
        if (
            event != "call"
            or not path.is_relative_to(ROOT)
            or path.parts[len(ROOT.parts)] not in ("train", "core_models")
        ):
            return
        if code.co_name == "__call__" and path.parent == ENDS_IN:
            raise ReachedLoss
        if code.co_flags & inspect.CO_OPTIMIZED and not code.co_name.startswith("<"):
            found.add(code)

    sys.setprofile(note_call)
    try:
        main(arguments)
    except ReachedLoss:
        return Counter(str(Path(code.co_filename).relative_to(ROOT)) for code in found)
    finally:
        sys.setprofile(None)
    raise SystemExit("the command ended before it came to a loss")


def write_corpora(folder: Path) -> Miniature:
    """The miniature corpora that the tests train on."""
    landmarker = next(model_folder("face-landmarker").glob("*.task"))
    video = next(model_folder("demo-face").glob("*.mp4"))
    return Miniature(
        write_meld(folder / "meld"),
        write_ravdess(folder / "ravdess"),
        write_fer2013(folder / "fer2013", video, FaceFeature(landmarker)),
        folder / "store",
    )


def print_counts(configs: Sequence[str]) -> None:
    """A line for each config, and one for each room that it passes through."""
    with tempfile.TemporaryDirectory() as name:
        miniature = write_corpora(Path(name))
        for config in configs:
            features = yaml.safe_load(Path(config).read_text(encoding="utf-8")).get("features", {})
            lending = [corpus for corpus, m in (("ravdess", "voice"), ("fer2013", "face")) if features.get(m)]
            given = [*miniature.options("meld", *lending), f"--runs={name}/runs", "--seeds=[]", "--device=cpu"]
            counts = count_functions(["fit", f"--config={config}", *given, "--threads=1"])
            print(f"{config}: {counts.total()} functions in {len(counts)} files")
            rooms = Counter[str]()
            for path, count in counts.items():
                rooms[str(Path(path).parent)] += count
            for room, count in sorted(rooms.items()):
                print(f"  {room}: {count}")


if __name__ == "__main__":
    print_counts(sys.argv[1:] or CONFIGS)
