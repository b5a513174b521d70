"""IEMOCAP in small, in its owner's tree: words and judgements of a few invented turns, and vectors for their voices."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SAID = {
    "hap": "I am so glad that you came.",
    "sad": "I miss him every single day.",
    "neu": "I put the keys on the table.",
    "ang": "You lied to me again!",
    "exc": "We won, we really won!",
    "fru": "This form again, for the third time.",
    "xxx": "Well, you know.",
}


def write_iemocap(folder: Path, sessions: int = 4, turns: int = 14) -> Path:
    """An improvised dialogue led by each of the two people, and a scripted one, a session; every seventh turn is
    one that the judges did not agree on, and turns end in another order than they begin."""
    for session in range(1, sessions + 1):
        dialog = folder / f"Session{session}" / "dialog"
        for part in ("transcriptions", "EmoEvaluation"):
            (dialog / part).mkdir(parents=True, exist_ok=True)
        for name in (f"Ses{session:02}F_impro01", f"Ses{session:02}M_impro01", f"Ses{session:02}F_script01_1"):
            said, judged = [], ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
            for turn in range(turns):
                code = list(SAID)[turn % len(SAID)]
                identity = f"{name}_{'FM'[turn % 2]}{turn // 2:03}"
                start, end = 3.0 * turn, 3.0 * turn + (7.5 if turn % 5 == 0 else 2.0)
                said.append(f"{identity} [{start:08.4f}-{end:08.4f}]: {SAID[code]}")
                judged += [f"[{start:.4f} - {end:.4f}]\t{identity}\t{code}\t[2.5000, 2.5000, 2.5000]", ""]
            (dialog / "transcriptions" / f"{name}.txt").write_text("\n".join(said) + "\n")
            (dialog / "EmoEvaluation" / f"{name}.txt").write_text("\n".join(judged) + "\n")
    return folder


def write_voices(path: Path, root: Path) -> Path:
    """An npz of a vector for each turn of the tree under `root`, but for those of the first dialogue's woman."""
    ids = [
        line.split()[0]
        for file in sorted(root.glob("Session*/dialog/transcriptions/*.txt"))
        for line in file.read_text().splitlines()
    ]
    ids = [identity for identity in ids if not identity.startswith("Ses01F_impro01_F")]
    np.savez(path, utt_id=np.array(ids), feat=np.random.default_rng(0).normal(size=(len(ids), 5)).astype(np.float32))
    return path
