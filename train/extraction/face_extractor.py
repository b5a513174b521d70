"""Faces of a corpus, by the feature code of the live run: the largest in each picture of an utterance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from core_models.errors import MediaError
from core_models.features.face.alignment import crop_face
from core_models.features.face.expression_posteriors import face_pictures_spec, open_face
from core_models.features.face.landmarker import Face, FaceFeature
from train.corpora.dialogues import Utterance, UtteranceInContext
from train.corpora.fer2013 import bordered_views, read_still, still_bytes
from train.media.content_digest import digest_of, digest_of_file
from train.media.decoding import frames_of

FRAMES_PER_S = 5


class FaceExtractor:
    """The picture of an utterance: one still, or frames of its film, pooled as the live run pools them."""

    batch = 1

    def __init__(self, model: str) -> None:
        self._made = (model,)
        self._feature = open_face(model)
        self.spec = self._feature.spec

    def __reduce__(self) -> tuple[type[FaceExtractor], tuple[str]]:
        return FaceExtractor, self._made

    def key(self, turn: UtteranceInContext) -> str | None:
        """Digest of the still, or of the film and its span; None where the utterance has neither. Raises MediaError."""
        return _face_key("face", turn.utterance)

    def vectors(self, turns: Sequence[UtteranceInContext]) -> list[NDArray[np.float32] | None]:
        """One vector [dimension] a turn; None where no face was found. Raises MediaError."""
        return [
            self._feature.pool([self._vector_of(*one) for one in _find_faces(self._feature, turn.utterance)])[0]
            for turn in turns
        ]

    def _vector_of(self, rgb: NDArray[np.uint8], face: Face | None) -> NDArray[np.float32] | None:
        return None if face is None else self._feature.vector(rgb, face)


class PictureExtractor:
    """What an expression network is trained on: the grey levels of a still's face, and its scores."""

    batch = 1

    def __init__(self) -> None:
        self._feature = open_face("face-landmarker")
        self.spec = face_pictures_spec(self._feature.spec)

    def __reduce__(self) -> tuple[type[PictureExtractor], tuple[()]]:
        return PictureExtractor, ()

    def key(self, turn: UtteranceInContext) -> str | None:
        """Digest of the still; None where the utterance has none. Raises MediaError."""
        return _face_key("picture", turn.utterance)

    def vectors(self, turns: Sequence[UtteranceInContext]) -> list[NDArray[np.float32] | None]:
        """float32 [side * side + scores] a turn; None where no face was found. Raises MediaError."""
        found: list[NDArray[np.float32] | None] = []
        for turn in turns:
            ((rgb, face),) = _find_faces(self._feature, turn.utterance)
            picture = None if face is None else crop_face(rgb, face.landmarks).reshape(-1).astype(np.float32)
            found.append(None if face is None or picture is None else np.concatenate([picture, face.scores]))
        return found


def _face_key(kind: str, utterance: Utterance) -> str | None:
    if utterance.image is not None:
        return digest_of(kind, "looks", still_bytes(utterance.image))
    if utterance.video is None:
        return None
    try:
        start, end = utterance.video_span or (None, None)
        return digest_of_file("film", utterance.video, f"{start}-{end} {utterance.video_half} {FRAMES_PER_S}/s")
    except OSError:
        raise MediaError(f"{utterance.video} cannot be read: expected a film.") from None


def pictures_of(utterance: Utterance) -> Iterator[NDArray[np.uint8]]:
    """RGB uint8 [height, width, 3] each: the utterance's still, or FRAMES_PER_S of its film. Raises MediaError."""
    if utterance.image is not None:
        yield read_still(utterance.image)
    elif utterance.video is not None:
        for frame in frames_of(utterance.video, utterance.video_span, FRAMES_PER_S):
            middle = frame.shape[1] // 2
            half = {None: slice(None), "left": slice(None, middle), "right": slice(middle, None)}[utterance.video_half]
            yield np.ascontiguousarray(frame[:, half])


def _find_faces(feature: FaceFeature, utterance: Utterance) -> Iterator[tuple[NDArray[np.uint8], Face | None]]:
    """(picture, its largest face) of each of the utterance's pictures. Raises MediaError."""
    for rgb in pictures_of(utterance):
        views = bordered_views(rgb) if utterance.image is not None else ((rgb, 0),)
        found = ((faces[0], border) for framed, border in views if (faces := feature.faces(framed)))
        face, border = next(found, (None, 0))
        yield rgb, face and face.moved(-border, -border)
