"""A voice that says what it sounds like: `python -m train voice --config configs/train/voice_base.yaml`.

Trains one head for each fold of people, tests it on those people, and then the head that ships on everybody. What the
folds' heads said of the people whom they had not heard is kept beside it (train/extraction/out_of_fold.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import Tensor

from core_models.atomic_write import require_writable, write_atomically
from core_models.errors import UsageError
from core_models.feature_network import LoadedNetwork
from core_models.features.audio.prosody import DIMENSION
from core_models.features.voice.emotion_posteriors import HEADS
from core_models.labels import LabelSet
from core_models.networks.voice_head import HeadConfig, Member, VoiceHead
from train.corpora.dialogues import Corpus
from train.corpora.registry import CorpusConfig, read_corpus
from train.evaluation.calibration import fit_temperature
from train.evaluation.metrics import score
from train.evaluation.results import Result, result_of, summarise_results, write_result
from train.extraction.frame_store import FrameStore
from train.extraction.out_of_fold import write_out_of_fold
from train.loop.accelerator import open_fabric
from train.loop.failures import guarded
from train.loop.fingerprint import fingerprint
from train.media.content_digest import digest_of
from train.recipes.voice.clips import AugmentedClip, VoiceHeadFrames, by_people, prepare_clips
from train.recipes.voice.training import VoiceSchedule, build_ensemble, fit_member, log_probabilities

# Clips as the corpus holds them, and as the live run cuts them: copies 0 and 1.
CUTS = ("clip", "speech")


@dataclass(frozen=True, kw_only=True)
class VoiceTraining:
    """What a voice learns, from which frames, and where it goes."""

    corpus: CorpusConfig
    """Labelled clips; folds are split by person."""
    out: Path
    """Folder of the head that ships; its name is the feature's."""
    run: Path
    """Folder of the networks that are finished: a killed run goes on from here."""
    name: str = "voice"
    """Name of the run, for tables."""
    neutral: list[CorpusConfig] = field(default_factory=list)
    """Further clips of the same label set that every head learns and none is tested on, such as people who read."""
    whisper: str = "whisper-base"
    """Whose encoder states are heard."""
    copies: int = 6
    """Augmented copies of each clip, besides the clip and its speech."""
    folds: int = 5
    """Parts that the people are dealt out to, each tested by heads that have learned the others."""
    members: int = 2
    """Networks a head, which differ in their seeds."""
    head: dict[str, Any] = field(default_factory=dict)
    """Shape: any of the fields of core_models.networks.voice_head.HeadConfig but states, prosody, classes, members."""
    schedule: VoiceSchedule = field(default_factory=VoiceSchedule)
    """How long and how fast."""
    store: Path = Path(".cache/features")
    """Folder of the feature store; frames that it holds are not computed again."""
    json: Path | None = None
    """Write the folds' scores to this file (whole clips), and to the same name with `_speech` (their speech)."""


def train_voice(config: VoiceTraining) -> None:
    """Folds, scores, and the head that ships. Raises UsageError, WeightsError, Diverged, OutOfMemory, DiskError."""
    console = Console(stderr=True)
    schedule = config.schedule
    fabric = open_fabric(schedule.device, schedule.precision, schedule.threads)
    require_writable([config.run, config.out])
    frames = VoiceHeadFrames(config.whisper, config.schedule.threads)
    store = FrameStore(config.store, frames.spec)
    corpus = read_corpus(config.corpus)
    clips = prepare_clips(corpus, config.copies, frames, store, console)
    others: list[AugmentedClip] = []
    for chosen in config.neutral:
        other = read_corpus(chosen)
        if other.labels != corpus.labels:
            raise UsageError(f"neutral: {other.name} is labelled with {other.labels.name}, not {corpus.labels.name}.")
        others += prepare_clips(other, config.copies, frames, store, console)
    shape = _head_config(config, frames, corpus.labels)
    shelf = _FittedMembers(config, shape, frames.spec.digest, fabric, console)

    folds = by_people(clips, config.folds)
    said: dict[str, Tensor] = {}
    for number, people in enumerate(folds):
        learned = [*(clip for clip in clips if clip.person not in people), *others]
        head = build_ensemble(shelf.members(learned, f"fold {number + 1} of {len(folds)}"))
        tested = [clip for clip in clips if clip.person in people]
        both = torch.stack([log_probabilities(head, tested, copy) for copy in range(len(CUTS))], dim=1)
        said |= dict(zip((clip.id for clip in tested), both, strict=True))
    unseen = torch.stack([said[clip.id] for clip in clips])  # [n, cuts, C]
    truth = torch.tensor([clip.label for clip in clips])
    temperature = fit_temperature(unseen.flatten(0, 1), truth.repeat_interleave(len(CUTS)))
    unseen = (unseen / temperature).log_softmax(dim=-1)

    head = build_ensemble(shelf.members([*clips, *others], "everybody"))
    head.temperature.fill_(temperature)
    record: dict[str, Any] = {
        "run": {"name": config.name, "seed": config.schedule.seed},
        "selection": "the last epochs; nothing is chosen on held-out people",
        "clips": {"learned": len(clips), "neutral": len(others), "people": len({clip.person for clip in clips})},
        "temperature": round(temperature, 4),
        "config": fingerprint(config),
    }
    HEADS.save(config.out, head, HEADS.sidecar(head, corpus.labels.name, frames.spec, record))
    answers: dict[str, Tensor] = {}
    for clip, rows in zip(clips, unseen, strict=True):
        answers |= dict(zip(clip.keys, rows, strict=True))
    write_out_of_fold(config.out, answers)
    _report_folds(config, corpus, HEADS.load(config.out), clips, folds, unseen, console)


def _head_config(config: VoiceTraining, frames: VoiceHeadFrames, labels: LabelSet) -> HeadConfig:
    own = {"states": frames.spec.dimension - DIMENSION, "prosody": DIMENSION, "classes": len(labels)}
    try:
        return HeadConfig(**{**config.head, **own})
    except TypeError as error:
        raise UsageError(f"head does not name fields of HeadConfig ({error}): see its docstring.") from None


class _FittedMembers:
    """Networks that are finished, each in a file whose name says what it has learned."""

    def __init__(self, config: VoiceTraining, shape: HeadConfig, frames: str, fabric: Fabric, console: Console) -> None:
        self._config, self._head_config, self._fabric, self._console = config, shape, fabric, console
        settings = fingerprint({"head": shape, "schedule": config.schedule, "copies": config.copies})
        self._settings = json.dumps([settings, frames], sort_keys=True)
        with guarded(f"the beginning of run {config.run}"):
            config.run.mkdir(parents=True, exist_ok=True)

    def members(self, clips: Sequence[AugmentedClip], title: str) -> list[Member]:
        """The networks that have learned `clips`, trained where they are not there yet."""
        found = []
        for number in range(self._config.members):
            seed = self._config.schedule.seed + number
            learned = digest_of(self._settings, str(seed), *(f"{clip.keys[0]} {clip.label}" for clip in clips))
            path = self._config.run / f"{learned[:16]}.safetensors"
            if path.exists() and self._config.schedule.resume is not False:
                member = Member(self._head_config)
                member.load_state_dict(load_file(path))
                member.eval().requires_grad_(False)
            else:
                self._console.print(f"{title}, network {number + 1} of {self._config.members}: {len(clips)} clips")
                member = fit_member(clips, self._head_config, self._config.schedule, seed, self._fabric)
                write_atomically(path, partial(save_file, member.state_dict()))
            found.append(member)
        return found


def _report_folds(
    config: VoiceTraining,
    corpus: Corpus,
    head: LoadedNetwork[VoiceHead],
    clips: Sequence[AugmentedClip],
    folds: Sequence[set[str]],
    unseen: Tensor,
    console: Console,
) -> None:
    """Print and write the folds' scores; `unseen` is what was said of each clip by those who had not heard it."""
    table = Table("fold", "people", *(f"{cut} {what}" for cut in CUTS for what in ("acc.", "UAR")))
    results: dict[str, list[Result]] = {cut: [] for cut in CUTS}
    for number, people in enumerate(folds):
        rows = [row for row, clip in enumerate(clips) if clip.person in people]
        truth = torch.tensor([clips[row].label for row in rows])
        for place, cut in enumerate(CUTS):
            found = score(unseen[rows, place], truth, corpus.labels)
            result = result_of(
                found,
                corpus,
                left_out={},
                checkpoint=config.out.name,
                digest=head.digest,
                model="voice",
                run=config.name,
                seed=config.schedule.seed,
                selection="nothing is chosen on held-out people; one temperature over all folds",
                split="all",
                subset=config.corpus.subset,
                fold=f"{number + 1} of {len(folds)}",
                modalities_used=("voice",),
                cut=cut,
                prior="checkpoint",
                context="its own sound",
            )
            results[cut].append(result)
        scores = [f"{100 * getattr(results[cut][-1], what):.1f}" for cut in CUTS for what in ("accuracy", "uar")]
        table.add_row(str(number + 1), str(len(people)), *scores)
    both = {cut: summarise_results(results[cut]) for cut in CUTS}
    table.add_section()
    table.add_row("mean", "", *(f"{100 * getattr(both[c], what):.1f}" for c in CUTS for what in ("accuracy", "uar")))
    console.print(table)
    console.print(f"{config.out}: [voice {head.name} {head.digest[:8]}]", highlight=False, markup=False)
    if config.json is not None:
        for cut, name in zip(CUTS, (config.json, config.json.with_stem(f"{config.json.stem}_speech")), strict=True):
            write_result(both[cut], str(name))
