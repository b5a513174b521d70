"""Topical-Chat (Gopalakrishnan et al., 2019): written chats about facts, each message with its own sentiment."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from core_models.errors import UsageError
from core_models.labels import TOPICALCHAT8
from train.corpora.dialogues import Corpus, Dialogue, Utterance
from train.corpora.text_files import read_text_file

SPLITS = ("train", "valid_freq", "valid_rare", "test_freq", "test_rare")


class _Message(msgspec.Struct):
    message: str
    agent: str
    sentiment: str


class _Conversation(msgspec.Struct):
    content: list[_Message]


def read_topicalchat(root: Path, split: str) -> Corpus:
    """The conversations of one split, labels of TOPICALCHAT8; `root` holds conversations/SPLIT.json, also gzipped.

    A message without a letter or digit has no words. Raises UsageError.
    """
    if split not in SPLITS:
        raise UsageError(f"Topical-Chat has no split {split!r}: use one of {', '.join(SPLITS)}.")
    path = root / "conversations" / f"{split}.json"
    try:
        held = msgspec.json.decode(read_text_file(path, "Topical-Chat"), type=dict[str, _Conversation])
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path} is not Topical-Chat's ({error}): use the official file.") from None
    dialogues = []
    for name, conversation in held.items():
        utterances = []
        for row, said in enumerate(conversation.content):
            label = said.sentiment.strip().lower()
            if label not in TOPICALCHAT8.labels:
                raise UsageError(
                    f"{path} has a sentiment {said.sentiment!r}, which Topical-Chat has not: fetch it again."
                )
            text = " ".join(said.message.split())
            words = text if re.search(r"\w", text) else None
            utterances.append(Utterance(f"{split}/{name}_{row}", said.agent, words, label))
        dialogues.append(Dialogue(f"{split}/{name}", tuple(utterances)))
    return Corpus("topicalchat", TOPICALCHAT8, tuple(dialogues))
