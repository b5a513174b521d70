"""The conversation in the terminal: a line for each result as it comes, and a summary at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from realtime.exports.emotion_styles import style_of
from realtime.pipeline.summary import Summary
from realtime.protocol import events
from realtime.protocol.displayed_text import strip_control_characters
from realtime.protocol.media_time import format_media_time
from realtime.protocol.speaker_registry import SpeakerRegistry

# Cells: eight steps of confidence, and words still fit beside it on a terminal of 80 columns.
_BAR = 8


class Terminal:
    """Prints every event that a person wants to see; takes them from any thread, in order of `seq`.

    Speakers are shown by the names that people gave them.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._speakers = SpeakerRegistry()

    def show(self, event: events.Logged) -> None:
        """Print one event as one or two lines; events that tell a reader nothing print nothing."""
        shown_name = self._speakers.shown_name
        match event:
            case events.EmotionFinal():
                self._console.print(_format_result(event, shown_name(event.speaker)), highlight=False, soft_wrap=True)
            case events.SpeakerRenamed():
                self._print_line(f"{shown_name(event.speaker)} is called {event.name} from now on.", "dim")
            case events.SpeakerMerged():
                gone, into = shown_name(event.speaker), shown_name(event.into)
                self._print_line(f"{gone} is {into}: what is shown above as {gone} was said by {into}.", "yellow")
            case events.UtteranceDiscarded():
                at = format_media_time(event.start_ms)
                self._print_line(f"{at:>5}  left out ({event.reason}): {event.detail}", "dim")
            case events.SourceStatus():
                self._print_line(f"{event.source}: {event.status}. {event.detail}", "dim")
            case events.StreamDegraded():
                state = "recovered" if event.recovered else "degraded"
                self._print_line(f"{state}: {event.what} ({event.count} lost). {event.detail}", "yellow")
            case events.Error():
                self._print_line(event.message, "red")
            case _:
                pass
        # Last: the lines above have the names from before it.
        self._speakers.apply(event)

    def _print_line(self, words: str, style: str) -> None:
        # As Text: file names and messages may hold what rich would take for markup.
        self._console.print(Text(strip_control_characters(words), style=style), soft_wrap=True)


def _format_result(event: events.EmotionFinal, name: str) -> Text:
    colour = style_of(event.emotion).colour
    bar = "█" * round(event.confidence * _BAR)
    line = Text(f"{format_media_time(event.start_ms):>5}  ")
    line.append(f"{strip_control_characters(name):<8}", style="bold")
    emotion = f"{event.emotion}?" if event.uncertain else event.emotion
    line.append(f"{emotion:<9}", style=colour if event.uncertain else f"bold {colour}")
    line.append(f"{event.confidence:4.0%} {bar:<{_BAR}}  ", style=colour)
    line.append(strip_control_characters(event.text or "(no words)"), style="" if event.text else "dim")
    if (second := event.rescored) is not None:
        line.append(f"\n{'':17}{second.checkpoint}: ", style="dim")
        line.append(f"{second.emotion} {second.confidence:.0%}", style=style_of(second.emotion).colour)
        line.append("" if second.emotion == event.emotion else ", another opinion", style="yellow")
    line.append(f"\n{'':17}{_format_modalities(event)}; {event.latency_ms.total} ms after the last word", style="dim")
    return line


def _format_modalities(event: events.EmotionFinal) -> str:
    parts = []
    for modality, opinion in event.modalities.items():
        if opinion.probabilities is None:
            parts.append(f"{modality} {opinion.status}")
            continue
        best = max(opinion.probabilities, key=opinion.probabilities.__getitem__)
        parts.append(f"{modality} {best} {opinion.probabilities[best]:.0%}")
    return ", ".join(parts)


def show_summary(console: Console, summary: Summary, labels: Sequence[str]) -> None:
    """Utterances, emotions by speaker and latency percentiles, at the end of a session."""
    lost = "".join(f", {count} {what} shed" for what, count in summary.lost.items())
    console.print(
        f"[bold]{summary.utterances} utterances in {format_media_time(summary.media_ms)}, "
        f"{summary.discarded} discarded{lost}[/]"
    )
    for sentence in summary.unheard:
        console.print(Text(sentence, style="yellow"), soft_wrap=True)
    if not summary.utterances:
        return
    table = Table("speaker")
    shown = [label for label in labels if any(label in c for c in summary.emotions.values())]
    for label in shown:
        table.add_column(label, justify="right")
    for speaker, counts in summary.emotions.items():
        table.add_row(Text(speaker), *(str(counts[label] or "·") for label in shown))
    console.print(table)
    p50, p95 = np.percentile(summary.latencies_ms, [50, 95])
    console.print(
        f"from the endpoint decision to emotion.final: median {p50:.0f} ms, 95th percentile {p95:.0f} ms",
        soft_wrap=True,
    )
