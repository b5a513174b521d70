"""A report for people: one HTML file that needs nothing else, with pictures of the call and its transcript."""

from __future__ import annotations

from collections import Counter
from html import escape
from pathlib import Path

from realtime.exports import charts
from realtime.exports.emotion_styles import class_of, style_of
from realtime.protocol.media_time import format_media_time
from realtime.review.conversation import Conversation, Utterance
from realtime.review.conversation_measures import measure_conversation

# Column -> what it counts, for a reader who knows no term of it (realtime/review/conversation_measures.py).
_MEASURES = {
    "talk": "their share of all that was said, by time",
    "turns": "how often they had the floor",
    "words/min": "words a minute while they speak",
    "answer ms": "median time from another's end to their beginning, below 0 where the two overlap",
    "long pauses": "silences of 2 s and longer within their turns",
    "interruptions": "turns begun 0.5 s or more before another's end that outlast it",
    "back-channels": "at most 1.5 s and three words while the other has the floor",
}


def render_html(conversation: Conversation) -> bytes:
    """The document: no script, nothing fetched, light and dark, fit to be printed."""
    created = conversation.created
    style = (Path(__file__).parent / "html_report.css").read_text(encoding="utf-8")
    colours = "".join(f".e-{class_of(label)}{{--c:{style_of(label).colour}}}" for label in conversation.labels)
    title = f"Conversation of {created.created_at:%d %B %Y, %H:%M} UTC"
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Words are escaped; should one ever not be, the policy still lets no script run and nothing be fetched.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{style}{colours}</style></head><body>"
        f"<header><h1>{escape(title)}</h1>{_render_facts(conversation)}</header><main>"
        f"{_render_shares(conversation)}{_render_measures(conversation)}{_render_course(conversation)}{_render_transcript(conversation)}</main>"
        f"<footer><p>{escape(created.notice)}</p><p>These are guesses about expression by a model that is often "
        "wrong, not knowledge of what a person feels: decide nothing about a person by them.</p>"
        f"<p>Session {created.session}, dialogue model {escape(created.checkpoint.name)} "
        f"({created.checkpoint.digest[:12]}), labels {escape(created.labels.name)}.</p></footer></body></html>\n"
    ).encode()


def _render_facts(conversation: Conversation) -> str:
    utterances = conversation.utterances
    corrected = sum(one.corrected for one in utterances)
    shifts = sum(one.shifted_from is not None for one in utterances)
    facts = {
        "length": format_media_time(conversation.end_ms),
        "utterances": f"{len(utterances):,}",
        "speakers": str(len(conversation.names)),
        "shifts": str(shifts),
        "corrected": str(corrected),
    }
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items()) + "</dl>"


def _utterances_of(conversation: Conversation, name: str) -> list[Utterance]:
    return [one for one in conversation.utterances if one.name == name]


def _render_shares(conversation: Conversation) -> str:
    """How often each speaker expressed what."""
    head = "".join(f'<th scope="col">{charts.draw_face(label)} {escape(label)}</th>' for label in conversation.labels)
    rows = []
    for name in conversation.names:
        mine = _utterances_of(conversation, name)
        counts = Counter(one.emotion for one in mine)
        cells = "".join(
            f"<td>{counts[label]}<small> {counts[label] / len(mine):.0%}</small></td>"
            if counts[label]
            else '<td class="none">·</td>'
            for label in conversation.labels
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}<td>{len(mine)}</td></tr>')
    return (
        '<section><h2>Who expressed what</h2><div class="wide"><table><thead><tr><th scope="col">speaker</th>'
        f'{head}<th scope="col">all</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div></section>'
    )


def _render_measures(conversation: Conversation) -> str:
    """What each person's part in the conversation was like, before any emotion."""
    rows = []
    for one in measure_conversation(conversation.utterances):
        cells = (
            f"{one.talk_share:.0%}",
            str(one.turns),
            _round_or_none(one.words_per_minute),
            _round_or_none(one.answer_ms),
            str(one.long_pauses),
            str(one.interruptions),
            str(one.back_channels),
        )
        rows.append(f'<tr><th scope="row">{escape(one.name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>')
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{column}</th>' for column in ("speaker", *_MEASURES))
    told = "; ".join(f"{column}: {meaning}" for column, meaning in _MEASURES.items())
    return (
        f'<section><h2>How they talked</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div><p><small>{told}.</small></p></section>"
    )


def _round_or_none(value: float | None) -> str:
    return "·" if value is None else f"{value:.0f}"


def _render_course(conversation: Conversation) -> str:
    """The pictures, a pair for each speaker over one axis of time."""
    if not conversation.utterances:
        return "<section><h2>Over time</h2><p>Nothing was judged.</p></section>"
    end = conversation.end_ms
    parts = []
    for name in conversation.names:
        mine, shown = _utterances_of(conversation, name), escape(name)
        title = f"Probabilities of {shown}'s emotions over time"
        bars = charts.draw_probabilities(mine, conversation.labels, end, title)
        line = charts.draw_valence(mine, conversation.labels, end, f"Valence of {shown} over time")
        parts.append(f"<figure><figcaption>{shown}</figcaption>{bars}{line}</figure>")
    legend = "".join(f"<li>{charts.draw_face(label, 16)} {escape(label)}</li>" for label in conversation.labels)
    return (
        f'<section><h2>Over time</h2>{"".join(parts)}{charts.draw_time_axis(end)}<ul class="legend">{legend}</ul>'
        "<p><small>Above: what the model holds likely, utterance by utterance. Below: valence, the probability of "
        "pleasant emotions less that of unpleasant ones.</small></p></section>"
    )


def _render_transcript(conversation: Conversation) -> str:
    told: list[tuple[int, str]] = [(one.start_ms, _render_line(one)) for one in conversation.utterances]
    told += [
        (mark.at_ms, f'<li class="mark"><time>{format_media_time(mark.at_ms)}</time> Marked {escape(mark.note)}</li>')
        for mark in conversation.marks
    ]
    lines = "".join(line for _, line in sorted(told, key=lambda one: one[0]))
    return f'<section><h2>Transcript</h2><ol class="transcript">{lines}</ol></section>'


def _render_line(one: Utterance) -> str:
    sure = f"corrected, was {escape(one.judged)}" if one.corrected else f"{one.confidence:.0%}"
    shift = f' <small class="shift">◆ from {escape(one.shifted_from)}</small>' if one.shifted_from else ""
    if one.rescored:
        second = f"{escape(one.rescored.emotion)} {one.rescored.confidence:.0%}"
        shift += f' <small>{escape(one.rescored.checkpoint)}: {second}</small>'
    words = escape(one.text) if one.text else "<em>(no words)</em>"
    emotion = escape(one.emotion)
    return (
        f'<li class="e-{class_of(one.emotion)}"><time>{format_media_time(one.start_ms)}</time> '
        f"<b>{escape(one.name)}</b> "
        f"<span>{charts.draw_face(one.emotion)} {emotion} <small>{sure}</small>{shift}</span><p>{words}</p></li>"
    )
