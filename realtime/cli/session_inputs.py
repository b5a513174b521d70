"""From options to inputs: sources, the speaker of each, whose face the camera sees, and crosstalk pairs."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from core_models.errors import MicrophoneError, UsageError
from realtime.cli.listen_options import Listen
from realtime.diarization.speaker_clustering import UNKNOWN_SPEAKER
from realtime.sources.browser.capture import MOST_PICTURES, Browser
from realtime.sources.camera import CameraSource
from realtime.sources.loopback import system_sound
from realtime.sources.microphone import MicrophoneSource
from realtime.sources.recording.file import FileSource
from realtime.sources.recording.raw_pcm import parse_raw_format
from realtime.sources.source import MediaClock, Source


@dataclass(frozen=True)
class SessionInputs:
    """The sources of a session and the people in them."""

    sources: list[Source]
    speakers: dict[str, str]
    """Source -> who speaks there, of the sides that are analysed."""
    camera_speaker: str | None
    """Whose face the camera sees; None where there is none or theirs is not analysed."""
    far_ends: dict[str, str]
    """Source -> the one whose sound may leak into it."""
    browser: Browser | None
    """What the page at /capture fills, where it is the source."""


def build_inputs(options: Listen, clock: MediaClock, console: Console) -> SessionInputs:
    """The inputs that the options ask for, nothing opened yet. UsageError, MicrophoneError, MediaError."""
    browser = build_browser(options, clock)
    sources, speakers = build_sources(options, clock, console, browser)
    camera_speaker: str | None = options.camera_speaker or next(iter(speakers.values()))
    if camera_speaker not in speakers.values() and UNKNOWN_SPEAKER not in speakers.values():
        raise UsageError(
            f"The camera cannot see {camera_speaker}, who is none of the speakers "
            f"({', '.join(speakers.values())}): name one of them with --camera-speaker."
        )
    far = find_far_ends(sources, speakers)
    speakers = select_speakers(options, speakers)
    if camera_speaker not in speakers.values() and UNKNOWN_SPEAKER not in speakers.values():
        camera_speaker = None
        sources = [source for source in sources if source.has_audio]
    if browser is not None:
        browser.wanted = [s.name for s in sources if not s.has_audio or s.name in speakers or s.name in far.values()]
    return SessionInputs(sources, speakers, camera_speaker, far, browser)


def build_browser(options: Listen, clock: MediaClock) -> Browser | None:
    """What the page at /capture fills, where that is asked for."""
    if options.source != "browser":
        return None
    if options.file is not None or options.microphone is not None:
        raise UsageError("A page sends the sound with --source browser: leave out --file and --microphone.")
    if options.port < 0:
        raise UsageError("The page of --source browser comes from the feed: give it a --port, or 0 for any free one.")
    pictures = options.video_fps if options.camera is not None else 0.0
    return Browser(clock=clock, tab=options.system_sound != "off", pictures_per_second=min(pictures, MOST_PICTURES))


def build_sources(
    options: Listen, clock: MediaClock, console: Console, browser: Browser | None
) -> tuple[list[Source], dict[str, str]]:
    """The sources, and who speaks in each audio source."""
    if options.file is None:
        sources: list[Source]
        if browser is not None:
            sources = list(browser.sounds.values())
        else:
            sources = [MicrophoneSource(options.microphone, clock=clock.elapsed_ms)]
            if (other := _open_system_sound(options, clock, console)) is not None:
                sources.append(other)
        names = options.speakers if isinstance(options.speakers, tuple) else (UNKNOWN_SPEAKER,)
        if len(names) > len(sources):
            raise UsageError(
                f"{len(sources)} sources of sound cannot be {len(names)} speakers: name one with --speakers "
                "for the microphone and one for the system's sound."
            )
        sides = [*names, *("local", "remote")[len(names) :]]
        speakers = {source.name: side for source, side in zip(sources, sides, strict=False)}
        if browser is not None and browser.camera is not None:
            sources.append(browser.camera)
        elif browser is None and options.camera is not None and options.video_fps > 0:
            sources.append(CameraSource(options.camera, fps=options.video_fps, clock=clock.elapsed_ms))
        return sources, speakers
    if options.channels == "split" and options.tracks == "split":
        raise UsageError("A side is a channel or an audio track: give --channels split or --tracks split, not both.")
    file = FileSource(
        options.file,
        pace=options.pace,
        video_fps=options.video_fps,
        split=options.channels == "split",
        split_tracks=options.tracks == "split",
        raw=parse_raw_format(options.raw_format) if options.raw_format is not None else None,
    )
    voices = file.channels
    if not isinstance(options.speakers, tuple) or (not options.speakers and len(voices) == 1):
        return [file], dict.fromkeys(voices, UNKNOWN_SPEAKER)
    names = options.speakers or tuple(f"speaker{n + 1}" for n in range(len(voices)))
    if len(names) != len(voices):
        raise UsageError(
            f"{options.file} gives {len(voices)} channels with --channels {options.channels}, but --speakers "
            f"names {len(names)}: name one speaker a channel."
        )
    return [file], dict(zip(voices, names, strict=True))


def _open_system_sound(options: Listen, clock: MediaClock, console: Console) -> Source | None:
    """What this computer plays, where it can be heard or was asked for."""
    if options.system_sound == "off":
        return None
    try:
        return system_sound(options.system_sound, clock=clock.elapsed_ms)
    except MicrophoneError as error:
        if options.system_sound != "auto" or options.analyse == "remote":
            raise
        console.print(f"One side is followed. {error}", style="dim", markup=False, soft_wrap=True)
        return None


def find_far_ends(sources: list[Source], speakers: dict[str, str]) -> dict[str, str]:
    """For a source, the one whose sound may leak into it; each of two channels of a recording into the other."""
    if len(speakers) == 2 and isinstance(sources[0], FileSource):
        one, other = speakers
        return {one: other, other: one}
    far = next((source.name for source in sources if source.name in ("system", "tab")), None)
    return {"microphone": far} if far else {}


def select_speakers(options: Listen, speakers: dict[str, str]) -> dict[str, str]:
    """The speakers of the sides that were asked for; the sound of the others is not even segmented."""
    if options.analyse == "both":
        return speakers
    first, *rest = speakers
    if options.file is not None and not rest:
        raise UsageError(
            f"One channel holds both sides, so --analyse {options.analyse} cannot tell them apart: "
            "give a recording with a channel a side and --channels split, or --analyse both."
        )
    asked = [first] if options.analyse == "local" else rest
    if not asked:
        raise UsageError("Only the microphone is heard here, which is the local side: give --analyse local or both.")
    return {source: speakers[source] for source in asked}
