"""The training commands, each on a miniature corpus, so that one test can ask the same of all of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from support.miniature_corpora import Miniature
from support.miniature_mced import Pieces


@dataclass(frozen=True)
class Recipe:
    """How one command is typed."""

    options: tuple[str, ...]
    """All that it needs but for folders, rate, passes and device."""
    schedule: str
    """What stands before the names of the schedule's options."""
    out: Callable[[Path], str]
    """The option that names the folder of what is finished."""
    run: Callable[[Path], str]
    """The option that names the folder of what is not."""
    rate: Callable[[str], str]
    """The option that names the learning rate."""

    def command(
        self, run: Path, out: Path, *, lr: str = "0.01", device: str = "cpu", resume: bool = False
    ) -> list[str]:
        """The arguments of `main`."""
        where = [self.run(run), self.out(out)]
        how = [f"{self.schedule}device={device}", f"{self.schedule}threads=1"]
        how += [f"{self.schedule}resume=true"] if resume else []
        return [*self.options, *where, *how, self.rate(lr)]


def recipe_of(name: str, pieces: Pieces, miniature: Callable[[], Miniature]) -> Recipe:
    """The command of that name; `miniature` makes the corpora that need the fetched models."""
    light = {"text": text, "mced": mced, "tdfnet": tdfnet, "voice": voice}
    return light[name](pieces) if name in light else {"fit": dialogue, "face": face}[name](miniature())


def text(pieces: Pieces) -> Recipe:
    """LoRA on a sentence encoder of a few kilobytes."""
    stages = "--stages=[{{corpus: meld, epochs: 2, lr: {}}}]"
    given = (f"--base={pieces.encoder}", f"--data.meld={pieces.meld}", "--rank=2", "--batch=32")
    return Recipe(("text", *given), "--", "--out={}".format, "--run={}".format, stages.format)


def mced(pieces: Pieces) -> Recipe:
    """A student that learns labelled sounds by their filter banks."""
    data = (
        *("--finetune.data.train.corpus=folder", f"--finetune.data.train.root={pieces.pairs}"),
        *("--finetune.data.apart=speakers", "--finetune.data.validation-share=0.3"),
        f"--finetune.data.store={pieces.store}",
    )
    shape = "--finetune.student={width: 16, layers: 2, heads: 2, feed_forward: 16}"
    small = ("--finetune.frames=spectrogram", shape, "--finetune.schedule.epochs=2", "--finetune.schedule.batch=8")
    out, run, rate = "--finetune.out={}", "--finetune.run={}", "--finetune.schedule.lr={}"
    options = ("mced", "--stage=finetune", *data, *small)
    return Recipe(options, "--finetune.schedule.", out.format, run.format, rate.format)


def tdfnet(pieces: Pieces) -> Recipe:
    """TDFNet on filter banks and token states; all that it writes lies in the folder of the run."""
    small = (
        *("--plan=holdout", "--validation-share=0.3", "--embeddings.frames=spectrogram", "--embeddings.speaker=null"),
        *(
            f"--embeddings.text={pieces.encoder}",
            "--schedule.epochs=2",
            "--schedule.batch=8",
            f"--store={pieces.store}",
        ),
        "--model={width: 8, heads: 2, feed_forward: 8, layers: 1, blocks: 1, gate: source}",
    )
    options = ("tdfnet", "--corpus.corpus=folder", f"--corpus.root={pieces.pairs}", *small)
    return Recipe(options, "--schedule.", "--name={.name}".format, "--runs={}".format, "--schedule.lr={}".format)


def voice(pieces: Pieces) -> Recipe:
    """A voice head of two folds."""
    small = (
        *("--whisper=whisper-tiny.en", "--copies=0", "--members=1", "--folds=2", f"--store={pieces.store}"),
        *("--schedule.epochs=2", "--schedule.average=1", "--schedule.batch=8", "--head.width=12"),
        "--head.prosody-width=4",
    )
    options = ("voice", "--corpus.corpus=folder", f"--corpus.root={pieces.pairs}", *small)
    return Recipe(options, "--schedule.", "--out={}".format, "--run={}".format, "--schedule.lr={}".format)


def dialogue(miniature: Miniature) -> Recipe:
    """SDT on words alone."""
    small = (
        *("--features.voice=null", "--features.face=null", "--epochs=2", "--batch=4"),
        *("--model.width=16", "--model.heads=2", "--model.feed-forward=16"),
    )
    options = ("fit", *miniature.options("meld"), *small)
    return Recipe(options, "--", "--out={}".format, "--runs={}".format, "--lr={}".format)


def face(miniature: Miniature) -> Recipe:
    """The expression network on a few stills."""
    small = ("--network={widths: [4, 6, 8], beside: 5}", "--schedule.epochs=2", "--schedule.batch=4")
    options = ("face", f"--fer2013={_relight(miniature.fer2013)}", f"--store={miniature.store}", *small)
    return Recipe(options, "--schedule.", "--out={}".format, "--run={}".format, "--schedule.lr={}".format)


def _relight(stills: Path) -> Path:
    """The stills with darker and brighter copies: the miniature's parts hold the same pictures, which would all be
    left out of training."""
    folder = stills.parent / "relit"
    if not folder.is_dir():
        shutil.copytree(stills, folder)
        for path in list((folder / "train").glob("*/*.png")):
            picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            for light in (0.9, 1.1):
                copy = np.clip(picture * light, 0, 255).astype(np.uint8)
                cv2.imwrite(str(path.with_stem(f"{path.stem}_{light}")), copy)
    return folder
