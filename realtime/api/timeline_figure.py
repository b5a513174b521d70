"""A conversation as a picture: a lane for each speaker, time from left to right."""

from __future__ import annotations

from typing import Any

from core_models.errors import UsageError
from realtime.exports.emotion_styles import style_of
from realtime.review.conversation import Conversation


def draw_timeline(conversation: Conversation) -> Any:
    """A matplotlib Figure, bound to no window; UsageError where matplotlib is not installed."""
    # Late, since matplotlib is optional.
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError:
        raise UsageError("Pictures need matplotlib: pip install 'conversation-emotion-tracker[plot]'.") from None
    names = conversation.names
    # A lane of 0.6 inches holds its name; 12 inches is a page's width on its side.
    figure = Figure(figsize=(12, 1.4 + 0.6 * max(1, len(names))), layout="constrained")
    axes = figure.subplots()
    for one in conversation.utterances:
        axes.broken_barh(
            [(one.start_ms / 1000, (one.end_ms - one.start_ms) / 1000)],
            (names.index(one.name) - 0.4, 0.8),
            facecolors=style_of(one.emotion).colour,
            # As on the page: what the model is less sure of is paler, and never so pale that it cannot be seen.
            alpha=max(0.35, one.confidence),
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("seconds")
    heard = [label for label in conversation.labels if any(one.emotion == label for one in conversation.utterances)]
    if heard:
        patches = [Patch(color=style_of(label).colour, label=label) for label in heard]
        axes.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=len(heard), frameon=False)
    return figure
