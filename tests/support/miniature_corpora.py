"""Corpora of a few invented lines, sounds and faces, in their owners' layouts."""

from __future__ import annotations

import csv
import itertools
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import soundfile

from core_models.features.face.landmarker import FaceFeature

LINES = {
    "neutral": ["The meeting starts at nine.", "I put the keys on the table.", "It is on the second floor."],
    "joy": ["We won, we really won!", "This is the best cake ever!", "I am so glad that you came."],
    "sadness": ["I miss him every single day.", "Nothing will be as it was.", "She left without a word."],
    "anger": ["Get out of my house!", "You lied to me again!", "How dare you touch that!"],
    "surprise": ["You did what?", "Oh my, is that a horse?", "Wait, they said yes?"],
    "fear": ["Someone is at the window.", "Please do not leave me here.", "What if it falls on us?"],
    "disgust": ["There is a hair in my soup.", "That smell, I feel sick.", "Take this slime away."],
}
FER_NAMES = {
    "neutral": "neutral",
    "joy": "happy",
    "sadness": "sad",
    "anger": "angry",
    "surprise": "surprise",
    "fear": "fear",
    "disgust": "disgust",
}
MELD_COLUMNS = [
    "Sr No.",
    "Utterance",
    "Speaker",
    "Emotion",
    "Sentiment",
    "Dialogue_ID",
    "Utterance_ID",
    "Season",
    "Episode",
    "StartTime",
    "EndTime",
]


@dataclass(frozen=True)
class Miniature:
    """Folders of the corpora, and of the feature store."""

    meld: Path
    ravdess: Path
    fer2013: Path
    store: Path

    def options(self, *corpora: str) -> list[str]:
        """What points `python -m train fit` at them: the first holds the dialogues, the others lend clips."""
        dialogues = [f"--data.train.corpus={corpora[0]}", f"--data.train.root={getattr(self, corpora[0])}"]
        clips = [f"--data.{name}={getattr(self, name)}" for name in corpora[1:]]
        return [*dialogues, "--data.train.split=train", *clips, f"--data.store={self.store}"]


def write_meld(folder: Path, dialogues: int = 24) -> Path:
    """MELD's train and dev CSV: two or three people take turns, every emotion in turn, neutral most of the time."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", dialogues), ("dev", 6)):
        cycle = itertools.cycle([label for pair in zip(["neutral"] * 7, LINES, strict=True) for label in pair])
        with (folder / f"{split}_sent_emo.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(MELD_COLUMNS)
            for dialogue in range(count):
                for utterance in range(4 + dialogue % 5):
                    label = next(cycle)
                    text = LINES[label][(dialogue + utterance) % 3]
                    speaker = ("Ann", "Bob", "Cid")[utterance % (2 + dialogue % 2)]
                    clock = f"00:00:{utterance:02},000"
                    writer.writerow([1, text, speaker, label, "-", dialogue, utterance, 1, 1, clock, clock])
    return folder


def write_ravdess(folder: Path, actors: tuple[int, ...] = (1, 2, 5, 17)) -> Path:
    """A second of buzz for each actor and emotion, by RAVDESS's names: pitch by actor, tremor by emotion."""
    rate = 16_000
    for actor, emotion in itertools.product(actors, range(1, 9)):
        path = folder / f"Actor_{actor:02}" / f"03-01-{emotion:02}-01-01-01-{actor:02}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        t = np.arange(rate) / rate
        phase = 2 * np.pi * (110 + 8 * actor) * t + 2 * np.sin(2 * np.pi * emotion * t)
        buzz = sum(np.sin(k * phase) / k for k in range(1, 12)) * (0.6 + 0.4 * np.sin(2 * np.pi * emotion * t))
        soundfile.write(path, (0.1 * buzz).astype(np.float32), rate)
    return folder


def write_fer2013(folder: Path, video: Path, face: FaceFeature, per_class: int = 4) -> Path:
    """Frames of a face, cut out, grey and 48 pixels wide, in folders by emotion; what they show is not their label."""
    stills = _faces(video, face, per_class * len(FER_NAMES))
    for number, (name, split) in enumerate(itertools.product(FER_NAMES.values(), ("train", "validation"))):
        target = folder / split / name
        target.mkdir(parents=True, exist_ok=True)
        for index in range(per_class):
            cv2.imwrite(str(target / f"{split}_{index}.png"), stills[(number // 2 * per_class + index) % len(stills)])
    return folder


def _faces(video: Path, face: FaceFeature, count: int) -> list[np.ndarray]:
    stills = []
    with av.open(str(video)) as container:
        for frame in itertools.islice(container.decode(video=0), 0, None, 3):
            rgb = frame.to_ndarray(format="rgb24")
            box = _face_box(rgb, face)
            if box is None:
                continue
            top, left, size = box
            grey = cv2.cvtColor(rgb[top : top + size, left : left + size], cv2.COLOR_RGB2GRAY)
            stills.append(cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA))
            if len(stills) == count:
                break
    return stills


def _face_box(rgb: np.ndarray, face: FaceFeature) -> tuple[int, int, int] | None:
    import mediapipe

    found = face._landmarker.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(rgb)))
    if not found.face_landmarks:
        return None
    height, width = rgb.shape[:2]
    xs = [p.x * width for p in found.face_landmarks[0]]
    ys = [p.y * height for p in found.face_landmarks[0]]
    size = int(1.3 * max(max(xs) - min(xs), max(ys) - min(ys)))
    left, top = int((min(xs) + max(xs) - size) / 2), int((min(ys) + max(ys) - size) / 2)
    return max(0, top), max(0, left), size
