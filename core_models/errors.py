"""The one kind of error that a person is meant to read."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Documented exit codes of `realtime.listen` and `train` (README, "Exit codes")."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    NO_MICROPHONE = 3
    MEDIA = 4
    WEIGHTS = 5
    CHECKPOINT = 6
    FEED = 7
    DISK = 8
    INTERRUPTED = 130


class TrackerError(Exception):
    """One sentence that says what was wrong, what was expected and what to do.

    Programs print it without a traceback and end with `exit_code`.
    """

    exit_code: Exit = Exit.UNEXPECTED

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)


class UsageError(TrackerError):
    """An option, a config key or a combination of them that cannot work."""

    exit_code = Exit.USAGE


class MicrophoneError(TrackerError):
    """No microphone, or no way to open it."""

    exit_code = Exit.NO_MICROPHONE


class MediaError(TrackerError):
    """A recording that cannot be opened or decoded."""

    exit_code = Exit.MEDIA


class WeightsError(TrackerError):
    """Weights that are missing, or whose digest is not the one in the manifest."""

    exit_code = Exit.WEIGHTS


class CheckpointError(TrackerError):
    """A checkpoint that is broken, or was trained on other features than those at hand."""

    exit_code = Exit.CHECKPOINT


class FeedError(TrackerError):
    """The feed cannot listen where it was asked to."""

    exit_code = Exit.FEED


class DiskError(TrackerError):
    """A file that the person asked for cannot be written."""

    exit_code = Exit.DISK
