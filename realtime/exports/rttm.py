"""Who spoke when, as NIST's Rich Transcription Time Marked file: what diarization is scored with."""

from __future__ import annotations

from realtime.review.conversation import Conversation


def render_rttm(conversation: Conversation) -> bytes:
    """A SPEAKER line for each utterance: file (the session's id), channel 1, begin and length in seconds, the name.

    A name's spaces become underscores, since spaces part the fields (NIST, RT-09 evaluation plan, appendix A).
    """
    session = conversation.created.session or "session"
    lines = [
        f"SPEAKER {session} 1 {one.start_ms / 1000:.3f} {(one.end_ms - one.start_ms) / 1000:.3f} "
        f"<NA> <NA> {'_'.join(one.name.split()) or one.speaker} <NA> <NA>\n"
        for one in conversation.utterances
        if one.end_ms > one.start_ms
    ]
    return "".join(lines).encode()
