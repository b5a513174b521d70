"""Features computed elsewhere: vectors by utterance id in an npz, with a spec that no live run can have."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core_models.errors import UsageError
from core_models.feature_spec import FeatureSpec, tensors_digest
from train.corpora.feature_pickle import PICKLES, VECTORS, read_feature_file

VERSION = 1


def read_imported(path: Path, modality: str) -> tuple[FeatureSpec, dict[str, NDArray[np.float32]]]:
    """(spec, utterance id -> float32 vector [dimension]) of an npz with `utt_id` [n] and `feat` [n, dimension].

    `path` may also be the community's feature pickle of IEMOCAP or MELD, whose vectors of `modality` are named
    after what computed them (`train.corpora.feature_pickle.VECTORS`).
    The spec is named after the file (gemaps47.npz: gemaps47). What computed the numbers is not in the file, so
    the digest covers name and width alone: the same feature of other utterances, in a file of the same name, goes
    with the same checkpoint; a live run, which can compute none of it, is refused. Raises UsageError for a file
    that holds anything else.
    """
    if path.suffix in PICKLES:
        file = read_feature_file(path)
        return _check_imported(VECTORS[modality][1], modality, file.ids, file.vectors[modality], path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            ids, vectors = arrays["utt_id"], arrays["feat"]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path} cannot be read as features ({error}): expected an npz with utt_id [n] and feat [n, d]."
        ) from None
    if ids.ndim != 1 or ids.dtype.kind != "U" or vectors.ndim != 2 or len(ids) != len(vectors) or not vectors.size:
        raise UsageError(
            f"{path} holds utt_id {ids.dtype}{list(ids.shape)} and feat {vectors.dtype}{list(vectors.shape)}: "
            "expected as many names as rows of numbers."
        )
    return _check_imported(path.stem, modality, [str(name) for name in ids], vectors, path)


def _check_imported(
    name: str, modality: str, ids: list[str], vectors: NDArray[np.generic], path: Path
) -> tuple[FeatureSpec, dict[str, NDArray[np.float32]]]:
    """(spec, utterance id -> float32 vector [d]) of `vectors` [n, d], which `path` holds. Raises UsageError."""
    if vectors.dtype.kind not in "fiu" or not np.isfinite(vectors).all():
        raise UsageError(f"{path} holds features that are no finite numbers: compute them again.")
    if len(set(ids)) != len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise UsageError(f"{path} holds two vectors of {twice}: expected one of each utterance.")
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    spec = FeatureSpec(
        modality=modality,
        name=name,
        version=VERSION,
        dimension=rows.shape[1],
        digest=tensors_digest([(name, rows[:0])]),
        settings={"imported": True},
    )
    return spec, dict(zip(ids, rows, strict=True))
