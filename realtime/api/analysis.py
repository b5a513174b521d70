"""`analyse(recording)`: what everybody in a recording feels, utterance by utterance, in one call."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.console import Console

from core_models.errors import UsageError
from realtime.api.shared_models import build_shared_extractor, load_shared_models
from realtime.api.timeline_figure import draw_timeline
from realtime.cli.listen_options import Listen
from realtime.cli.session_assembly import build_session, describe_end, describe_session
from realtime.cli.session_inputs import build_inputs
from realtime.cli.several_people import build_speaker_clustering
from realtime.exports.tables import flat_columns, flatten_row, nest_row
from realtime.feed.publisher import EventPublisher
from realtime.protocol import events
from realtime.review.conversation import Conversation, Utterance, fold_conversation
from realtime.sources.source import MediaClock


@dataclass(frozen=True)
class Analysis:
    """What a recording came to."""

    file: Path
    session: str
    """The id that this analysis gave the conversation."""
    conversation: Conversation
    events: tuple[events.Logged, ...]
    """Everything that the feed would have sent, `session.created` first and `session.closed` last."""

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """Every judged utterance, by its beginning; times are milliseconds from the start of the recording."""
        return self.conversation.utterances

    def to_dataframe(self) -> Any:
        """A pandas DataFrame: an utterance a row, columns `session`, `file` and those of `realtime.export`'s CSV.

        UsageError where pandas is not installed.
        """
        # Late, since pandas is optional.
        try:
            import pandas
        except ImportError:
            raise UsageError("Data frames need pandas: pip install 'conversation-emotion-tracker[pandas]'.") from None
        return pandas.DataFrame(self.rows(), columns=["session", "file", *flat_columns(self.conversation)])

    def rows(self) -> list[dict[str, Any]]:
        """An utterance a row, with flat columns; a column without a value is left out of a row."""
        own = {"session": self.session, "file": str(self.file)}
        return [own | flatten_row(self.conversation, one) for one in self.utterances]

    def to_json(self) -> str:
        """One JSON object: `session`, `file`, `labels`, and `utterances` with their modalities nested."""
        whole = {
            "session": self.session,
            "file": str(self.file),
            "labels": self.conversation.labels,
            "utterances": [nest_row(one) for one in self.utterances],
        }
        return msgspec.json.encode(whole).decode()

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """A matplotlib Figure: a lane for each speaker, every utterance in the colour of its emotion.

        With `path` it is written there too, in the format of its ending. UsageError where matplotlib is not installed.
        """
        figure = draw_timeline(self.conversation)
        if path is not None:
            figure.savefig(path)
        return figure


def analyse(
    recording: str | os.PathLike[str],
    *,
    speakers: Literal["auto"] | int | Sequence[str] = (),
    channels: Literal["mix", "split"] = "mix",
    checkpoint: str = "default",
    language: str = "auto",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int = 2,
    video_fps: float = 6.0,
    on_event: Callable[[events.Logged], None] | None = None,
) -> Analysis:
    """Judge a recording as fast as this machine can; models stay loaded for the next call.

    Options are those of `realtime.listen`: `speakers` are names, one a channel with `channels="split"`, or how many
    people there are, or "auto". `on_event` gets every event as it comes, from a thread of the session; what it raises
    ends its calls and not the analysis. Nothing is written to disk. MediaError for what is no recording with sound,
    UsageError for options that do not go together, WeightsError, CheckpointError.
    """
    options = Listen(
        file=Path(recording),
        pace="fast",
        speakers=speakers if speakers == "auto" or isinstance(speakers, int) else tuple(speakers),
        channels=channels,
        checkpoint=checkpoint,
        language=language,
        device=device,
        threads=threads,
        video_fps=video_fps,
        port=-1,
        keep_journal=False,
    )
    inputs = build_inputs(options, MediaClock(), Console(file=io.StringIO()))
    clustering = build_speaker_clustering(options, inputs.speakers.values())
    models = load_shared_models(checkpoint, device, threads)
    heard: list[events.Logged] = []
    views = [heard.append] if on_event is None else [heard.append, on_event]
    session_id = events.new_id()
    with closing(EventPublisher(session_id, views=views)) as publisher:
        session = build_session(
            options,
            inputs,
            models,
            publisher.append,
            clustering=clustering,
            extractor=build_shared_extractor(models, language),
        )
        created = describe_session(models, inputs.sources)
        publisher.append(created)
        summary = session.run()
        publisher.append(describe_end(session.reason, summary))
    if session.failure is not None:
        raise session.failure
    return Analysis(Path(recording), session_id, fold_conversation(created, heard[1:]), tuple(heard))
