"""A few invented lines of each newer corpus, in their owners' layouts, with the traps that the real files hold."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np


def write_packed(path: Path, text: str, packed: bool) -> None:
    """`text` at `path`, or gzipped at `path`.gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if packed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(text.encode()))
    else:
        path.write_bytes(text.encode())


def write_xed(root: Path, packed: bool = False) -> Path:
    """English with masks, split contractions and several labels; neutral lines; German with broken rows."""
    annotated = "I do n't know [PERSON] , wan na go ?\t7\r\nTake it .\t1, 6\r\nTrust me .\t8, 1\r\nLater .\t2\r\n"
    write_packed(root / "AnnotatedData" / "en-annotated.tsv", annotated, packed)
    write_packed(root / "AnnotatedData" / "neu_en.txt", "9\tOne moment please.\n9\t\n9\tThe door is open.\t\n", packed)
    german = 'Es regnet.\t6\r\n"Er ging.\t4\nSie blieb.\t5\t4\r\nnan\t3\r\nNein!\tx\r\nJa.\t5\r\n'
    write_packed(root / "Projections" / "de-projections.tsv", german, packed)
    return root


def write_brighter(root: Path, packed: bool = False) -> Path:
    """English without a column for disgust, and German with all six."""
    english = (
        'id,text,anger,fear,joy,sadness,surprise\ne1,"One, two &gt; three <b>now</b>.",0,0,0,0,0\ne2,Run!,0,1,0,0,1\n'
    )
    write_packed(root / "track_a" / "train" / "eng.csv", english, packed)
    german = "id,text,anger,disgust,fear,joy,sadness,surprise\nd1,@<username> Pfui,0,1,0,0,0,0\n"
    write_packed(root / "track_a" / "train" / "deu.csv", german, packed)
    return root


def write_mmeld(root: Path, packed: bool = False) -> Path:
    """Spanish: one line sound, one read in the wrong encoding (with a byte that Windows-1252 lacks), one with marks."""
    header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
    broken = "".join(
        chr(byte) if byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes([byte]).decode("cp1252")
        for byte in "¡Así está Álvaro!".encode()
    )
    rows = [
        f'{n},Hm.,Ann,joy,positive,3,{n},1,2,"00:00:01,000","00:00:02,000","{text}"'
        for n, text in enumerate(("¿Qué pasó, niño?", broken, "<i>Espera . . .</i>"))
    ]
    write_packed(root / "mmeld_es_train.csv", "\n".join((f"{header},spanish_text", *reversed(rows))), packed)
    return root


def write_dailydialog(root: Path, packed: bool = False) -> Path:
    """Three dialogues, of which one repeats another and one has a label too few; validation repeats one of training."""
    first = "I ’ m fine , thanks . __eou__ Good . __eou__"
    train = f"{first}\nGo away ! __eou__ Why ? __eou__ No . __eou__\n{first.replace(' .', '.')}\nTea ? __eou__\n"
    write_packed(root / "train" / "dialogues_train.txt", train, packed)
    write_packed(root / "train" / "dialogues_emotion_train.txt", "4 0 \n1 6 \n4 0 \n3 \n", packed)
    write_packed(root / "validation" / "dialogues_validation.txt", f"{first}\nNew here ? __eou__\n", packed)
    write_packed(root / "validation" / "dialogues_emotion_validation.txt", "0 0 \n5 \n", packed)
    return root


def write_reccon(root: Path, packed: bool = False) -> Path:
    """RECCON's layout: emotions spelt in its ways, and a dialogue of training among those for validation."""
    said = (("A", "We won !", "happines"), ("B", "I lost .", "sad"))
    turns = [{"turn": n, "speaker": s, "utterance": u, "emotion": e} for n, (s, u, e) in enumerate(said, start=1)]
    write_packed(root / "dailydialog_train.json", json.dumps({"tr_7": [turns]}), packed)
    other = [{"turn": 1, "speaker": "A", "utterance": "Oh .", "emotion": "surprised"}]
    write_packed(root / "dailydialog_valid.json", json.dumps({"tr_9": [other]}), packed)
    return root


def write_topicalchat(root: Path, packed: bool = False) -> Path:
    """One conversation, one message of which has no word."""
    said = (("agent_1", "Do you like rain?", "Curious to dive deeper"), ("agent_2", ":)", "Happy"))
    content = [{"agent": a, "message": m, "sentiment": s, "turn_rating": "Good"} for a, m, s in said]
    held = {"t_1": {"config": "B", "content": content}}
    write_packed(root / "conversations" / "valid_freq.json", json.dumps(held), packed)
    return root


def write_isear(root: Path, packed: bool = False) -> Path:
    """Reports with a broken line, a remark in brackets, and a quote that is none of CSV's."""
    rows = (
        "ID|Field1|SIT|STATE|",
        '11|joy|When I met á "her again.|1|',
        "11|fear|[ No response.]|1|",
        "12|guilt|I lied.|1|",
    )
    write_packed(root / "isear.csv", "\r\n".join(rows) + "\r\n", packed)
    return root


def write_mspimprov(root: Path, packed: bool = False) -> Path:
    """A scene of two actors with its target sentence, and a sentence that is read."""
    header = (
        "utt_id,session,dialogue,speaker,scenario,sentence,target,scene,turn,category,"
        "valence,arousal,dominance,naturalness,transcript"
    )
    rows = (
        "MSP-IMPROV-S01A-F01-T-FM01,1,S01A-1-FM,F01,T,S01,A,FM,1,H,4,1,3,4,How can I not?.",
        "MSP-IMPROV-S01A-M01-S-FM01,1,S01A-1-FM,M01,S,S01,A,FM,1,X,3,3,3,4,Yeah..Sure..",
        "MSP-IMPROV-S01A-F01-S-FM02,1,S01A-1-FM,F01,S,S01,A,FM,2,A,1,5,3,4,",
        "MSP-IMPROV-S01A-F01-S-FM01,1,S01A-1-FM,F01,S,S01,A,FM,1,N,3,3,3,4,we go",
        "MSP-IMPROV-S01A-F03-R-FF01,2,S01A-F03-R,F03,R,S01,A,FF,1,O,3,3,3,4,How can I not?.",
    )
    write_packed(root / "turns.csv", "\n".join((header, *rows)) + "\n", packed)
    return root


VOTES = {
    "fer0000000.png": (6, 1, 0, 0, 0, 0, 0, 0, 3, 0),
    "fer0000001.png": (0, 5, 5, 0, 0, 0, 0, 0, 0, 0),
    "fer0000002.png": (0, 0, 0, 0, 2, 0, 0, 4, 4, 0),
    "fer0000003.png": (0, 0, 0, 0, 0, 0, 0, 9, 1, 0),
    "fer0000004.png": (1, 0, 0, 0, 2, 0, 0, 0, 7, 0),
    "fer0000009.png": (0, 0, 9, 0, 0, 0, 0, 0, 0, 1),
}
"""Neutral, a tie, a tie with `unknown`, contempt, `unknown`, and a row whose picture is not at hand."""


def write_ferplus(root: Path, part: str = "FER2013Test", packed: bool = False) -> Path:
    """Pictures and votes of one part: a folder, or a tar that holds all of it."""
    rows = [f'{name},"(0, 0, 48, 48)",{",".join(map(str, votes))}' for name, votes in VOTES.items()]
    files = {f"{part}/label.csv": "\n".join([*rows, rows[0]]).encode()}
    for number, name in enumerate(list(VOTES)[:-1]):
        grey = np.full((48, 48), 40 * number, np.uint8)
        files[f"{part}/{name}"] = cv2.imencode(".png", grey)[1].tobytes()
    root.mkdir(parents=True, exist_ok=True)
    if packed:
        with tarfile.open(root / f"{part}.tar", "w") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    else:
        (root / part).mkdir()
        for name, content in files.items():
            (root / name).write_bytes(content)
    return root
