"""Faces of a corpus, by the feature code of the live run: the largest in each picture of a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from core_models.errors import MediaError
from core_models.features.face.alignment import crop
from core_models.features.face.expression_posteriors import face_pictures_spec, open_face
from core_models.features.face.landmarker import Face, FaceFeature
from train.corpora.dialogues import Line, Turn
from train.corpora.fer2013 import looks, still, still_bytes
from train.media.content_digest import digest, digest_of_file
from train.media.decoding import frames_of

FRAMES_PER_S = 5


class FaceExtractor:
    """The picture of a line: one still, or frames of its film, pooled as the live run pools them."""

    batch = 1

    def __init__(self, model: str) -> None:
        self._made = (model,)
        self._feature = open_face(model)
        self.spec = self._feature.spec

    def __reduce__(self) -> tuple[type[FaceExtractor], tuple[str]]:
        return FaceExtractor, self._made

    def key(self, turn: Turn) -> str | None:
        """Digest of the still, or of the film and its span; None where the line has neither. Raises MediaError."""
        return _key("face", turn.line)

    def vectors(self, turns: Sequence[Turn]) -> list[NDArray[np.float32] | None]:
        """One vector [dimension] a turn; None where no face was found. Raises MediaError."""
        return [
            self._feature.pool([self._vector(*one) for one in _faces(self._feature, turn.line)])[0] for turn in turns
        ]

    def _vector(self, rgb: NDArray[np.uint8], face: Face | None) -> NDArray[np.float32] | None:
        return None if face is None else self._feature.vector(rgb, face)


class PictureExtractor:
    """What an expression network is trained on: the grey levels of a still's face, and its scores."""

    batch = 1

    def __init__(self) -> None:
        self._feature = open_face("face-landmarker")
        self.spec = face_pictures_spec(self._feature.spec)

    def __reduce__(self) -> tuple[type[PictureExtractor], tuple[()]]:
        return PictureExtractor, ()

    def key(self, turn: Turn) -> str | None:
        """Digest of the still; None where the line has none. Raises MediaError."""
        return _key("picture", turn.line)

    def vectors(self, turns: Sequence[Turn]) -> list[NDArray[np.float32] | None]:
        """float32 [side * side + scores] a turn; None where no face was found. Raises MediaError."""
        found: list[NDArray[np.float32] | None] = []
        for turn in turns:
            ((rgb, face),) = _faces(self._feature, turn.line)
            picture = None if face is None else crop(rgb, face.landmarks).reshape(-1).astype(np.float32)
            found.append(None if face is None or picture is None else np.concatenate([picture, face.scores]))
        return found


def _key(kind: str, line: Line) -> str | None:
    if line.image is not None:
        return digest(kind, "looks", still_bytes(line.image))
    if line.video is None:
        return None
    try:
        start, end = line.video_span or (None, None)
        return digest_of_file("film", line.video, f"{start}-{end} {line.video_half} {FRAMES_PER_S}/s")
    except OSError:
        raise MediaError(f"{line.video} cannot be read: expected a film.") from None


def seen(line: Line) -> Iterator[NDArray[np.uint8]]:
    """The line's pictures, RGB uint8 [height, width, 3]: its still, or FRAMES_PER_S of its film. Raises MediaError."""
    if line.image is not None:
        yield still(line.image)
    elif line.video is not None:
        for frame in frames_of(line.video, line.video_span, FRAMES_PER_S):
            middle = frame.shape[1] // 2
            half = {None: slice(None), "left": slice(None, middle), "right": slice(middle, None)}[line.video_half]
            yield np.ascontiguousarray(frame[:, half])


def _faces(feature: FaceFeature, line: Line) -> Iterator[tuple[NDArray[np.uint8], Face | None]]:
    """(picture, its largest face) of each of the line's pictures. Raises MediaError."""
    for rgb in seen(line):
        views = looks(rgb) if line.image is not None else ((rgb, 0),)
        found = ((faces[0], border) for framed, border in views if (faces := feature.faces(framed)))
        face, border = next(found, (None, 0))
        yield rgb, face and face.moved(-border, -border)
