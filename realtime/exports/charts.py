"""Pictures of a call as SVG: stacked probabilities and valence of a speaker over time, and faces."""

from __future__ import annotations

from collections.abc import Sequence

from realtime.exports.emotion_styles import style_of
from realtime.protocol.media_time import format_media_time
from realtime.review.conversation import Utterance

WIDTH = 1000
# Heights of the two pictures of a speaker, in the same units.
_BAR, _LINE = 56, 46
# Of longer calls means are drawn, each four units wide: narrower bars are finer than a screen shows at this width.
_COLUMNS = 250


def draw_face(label: str, size: int = 18) -> str:
    """The face of an emotion; the word must stand beside it."""
    style = style_of(label)
    return (
        f'<svg class="face" viewBox="0 0 24 24" width="{size}" height="{size}" aria-hidden="true">'
        f'<circle cx="12" cy="12" r="10.5" fill="{style.colour}" stroke="#0005"/>'
        f'<path d="{style.strokes}" fill="none" stroke="{style.ink}" stroke-width="1.9" '
        'stroke-linecap="round" stroke-linejoin="round"/></svg>'
    )


def draw_probabilities(utterances: Sequence[Utterance], labels: Sequence[str], end_ms: int, title: str) -> str:
    """Stacked probabilities, the first label at the bottom; of long calls, the means of equal stretches of time."""
    parts = []
    for start, end, distribution in _time_spans(utterances, labels, end_ms):
        x, width = start * WIDTH / end_ms, max(1.0, (end - start) * WIDTH / end_ms - 0.5)
        bottom = float(_BAR)
        for label in labels:
            height = distribution[label] * _BAR
            bottom -= height
            # Thinner bars are not to be seen and would be most of the file.
            if height >= 0.2:
                parts.append(
                    f'<rect x="{x:.1f}" y="{bottom:.1f}" width="{width:.1f}" height="{height:.1f}" '
                    f'fill="{style_of(label).colour}"/>'
                )
    return _wrap_svg(title, _BAR, "".join(parts))


def draw_valence(utterances: Sequence[Utterance], labels: Sequence[str], end_ms: int, title: str) -> str:
    """Probability of pleasant emotions less that of unpleasant ones, pleasant above the middle."""
    points = []
    for start, end, distribution in _time_spans(utterances, labels, end_ms):
        value = sum(distribution[label] * style_of(label).pleasant for label in labels)
        points.append(f"{(start + end) / 2 * WIDTH / end_ms:.1f},{(1 - value) / 2 * _LINE:.1f}")
    middle = _LINE / 2
    zero = f'<line x1="0" x2="{WIDTH}" y1="{middle}" y2="{middle}" class="zero"/>'
    return _wrap_svg(title, _LINE, f'{zero}<polyline points="{" ".join(points)}" class="valence"/>')


def draw_time_axis(end_ms: int) -> str:
    """Times below the pictures, at round numbers."""
    steps = (5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600)
    step = next((s for s in steps if end_ms / 1000 / s <= 12), steps[-1])
    marks = [
        f'<text x="{second * 1000 * WIDTH / end_ms:.1f}" y="13">{format_media_time(second * 1000)}</text>'
        for second in range(0, end_ms // 1000 + 1, step)
    ]
    return _wrap_svg("", 16, "".join(marks))


def _wrap_svg(title: str, height: int, content: str) -> str:
    label = f'role="img" aria-label="{title}"' if title else 'aria-hidden="true"'
    shape = f'viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none"' if title else f'viewBox="0 0 {WIDTH} {height}"'
    return f'<svg class="picture" {shape} {label}>{content}</svg>'


def _time_spans(
    utterances: Sequence[Utterance], labels: Sequence[str], end_ms: int
) -> list[tuple[float, float, dict[str, float]]]:
    """(start, end, mean distribution) of what is drawn: utterances, or equal stretches of time if those are many."""
    if len(utterances) <= _COLUMNS:
        return [(one.start_ms, one.end_ms, one.probabilities) for one in utterances]
    columns: dict[int, list[Utterance]] = {}
    for one in utterances:
        columns.setdefault(one.start_ms * _COLUMNS // (end_ms + 1), []).append(one)
    width = end_ms / _COLUMNS
    return [
        (
            column * width,
            (column + 1) * width,
            {label: sum(one.probabilities[label] for one in group) / len(group) for label in labels},
        )
        for column, group in sorted(columns.items())
    ]
