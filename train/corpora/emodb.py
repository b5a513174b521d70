"""EmoDB (Burkhardt et al., 2005): ten German speakers, ten sentences, seven acted emotions, coded in file names."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from core_models.errors import UsageError
from core_models.labels import EMODB7
from train.corpora.dialogues import Corpus, Dialogue, Utterance

_EMOTIONS = {
    "W": "anger",  # Wut
    "L": "boredom",  # Langeweile
    "E": "disgust",  # Ekel
    "A": "fear",  # Angst
    "F": "happiness",  # Freude
    "T": "sadness",  # Trauer
    "N": "neutral",
}
# speaker, sentence (a: everyday, b: of two clauses), emotion, take: 03a01Fa.wav
_NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-z])")


def read_emodb(root: Path, speakers: Collection[int] | None = None) -> Corpus:
    """Every clip under `root`, each a dialogue of one utterance with sound, labels of EMODB7; its group is the speaker.

    The words are left out: they are German, which the sentence encoders here do not know, and the same ten
    sentences for every emotion. Files by other names are passed over. Raises UsageError where nothing is left.
    """
    dialogues = []
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in {".wav", ".flac"}):
        match = _NAME.fullmatch(path.stem)
        if match is None or (speakers is not None and int(match.group(1)) not in speakers):
            continue
        utterance = Utterance(path.stem, f"speaker {match.group(1)}", label=_EMOTIONS[match.group(3)], audio=path)
        dialogues.append(Dialogue(path.stem, (utterance,), group=match.group(1)))
    if not dialogues:
        raise UsageError(
            f"{root} holds no EmoDB clips{'' if speakers is None else f' of speakers {sorted(speakers)}'}: expected "
            "files like 03a01Fa.wav in it or in its wav folder; set the corpus folder."
        )
    return Corpus("emodb", EMODB7, tuple(dialogues))
