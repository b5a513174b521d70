"""Clips cut to their speech: acted clips stand in a second of silence, live utterances do not.

The encoder's statistics over time move so much with that silence that a voice learned from whole clips loses
15 points on the same clips as the live run cuts them; learned from both, it loses nothing on either.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from core_models.errors import MediaError
from train.corpora.dialogues import Corpus, Dialogue, Utterance
from train.media.utterance_audio import SAMPLE_RATE, read_sound

# As a live run cuts, but for finer frames and the gate against steady noise there
# (realtime/segmentation/segmenter.py), which clips from a studio do not need.
AGGRESSIVENESS = 2
# The longest frame that webrtcvad takes; the live segmenter's are 20 ms.
FRAME_MS = 30
# 5 voiced frames of 8 (150 of 240 ms): a click is shorter than this, and a word is not.
ONSET_FRAMES, ONSET_VOICED = 8, 5
PREROLL_MS = 300
POSTROLL_MS = 200


def cut_to_speech(corpus: Corpus) -> Corpus:
    """`corpus` with every utterance that has sound cut to its speech, ids ending in "/speech".

    An utterance that no speech is found in, or that cannot be decoded, keeps its whole file.
    """
    return replace(corpus, dialogues=tuple(_trim_dialogue(dialogue) for dialogue in corpus.dialogues))


def speech_span(samples: NDArray[np.float32]) -> tuple[int, int] | None:
    """(start_ms, end_ms) from the first onset of speech to the last voiced frame, with pre-roll and post-roll.

    samples: mono float32 [n] at 16 kHz. None where there is no onset.
    """
    vad = webrtcvad.Vad(AGGRESSIVENESS)
    frame = FRAME_MS * SAMPLE_RATE // 1000
    # webrtcvad reads 16-bit samples, and a float above 1 would wrap around.
    pcm = (samples.clip(-1, 1) * 32767).astype(np.int16)
    voiced = np.array(
        [vad.is_speech(pcm[i : i + frame].tobytes(), SAMPLE_RATE) for i in range(0, len(pcm) - frame + 1, frame)]
    )
    if len(voiced) < ONSET_FRAMES:
        return None
    windows = np.convolve(voiced, np.ones(ONSET_FRAMES, int), "valid")
    onsets = np.flatnonzero(windows >= ONSET_VOICED)
    if not len(onsets):
        return None
    first = onsets[0] + int(np.flatnonzero(voiced[onsets[0] :])[0])
    inside = voiced[: onsets[-1] + ONSET_FRAMES]
    last = int(np.flatnonzero(inside)[-1])
    total = len(samples) * 1000 // SAMPLE_RATE
    return max(0, int(first) * FRAME_MS - PREROLL_MS), min(total, (last + 1) * FRAME_MS + POSTROLL_MS)


def _trim_dialogue(dialogue: Dialogue) -> Dialogue:
    identity = f"{dialogue.id}/speech"
    return replace(
        dialogue, id=identity, utterances=tuple(_trim_utterance(utterance) for utterance in dialogue.utterances)
    )


def _trim_utterance(utterance: Utterance) -> Utterance:
    if utterance.audio is None:
        return utterance
    try:
        span = speech_span(read_sound(utterance))
    except MediaError:
        span = None
    if span is not None:
        offset = utterance.audio_span[0] if utterance.audio_span else 0
        utterance = replace(utterance, audio_span=(offset + span[0], offset + span[1]))
    return replace(utterance, id=f"{utterance.id}/speech")
