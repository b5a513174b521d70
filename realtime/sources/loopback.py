"""The other side of a call: what this computer plays, in the way of each system."""

from __future__ import annotations

import sys
from collections.abc import Callable

from core_models.errors import MicrophoneError
from realtime.sources.audio_backends.backend import AudioBackend
from realtime.sources.audio_backends.portaudio import PortAudioBackend, microphones, portaudio
from realtime.sources.audio_backends.pulseaudio import PulseAudioBackend
from realtime.sources.audio_backends.wasapi import WasapiLoopbackBackend
from realtime.sources.microphone import MicrophoneSource

_VIRTUAL = ("blackhole", "loopback", "soundflower", "background music", "vb-cable")


def system_sound(choice: str, *, clock: Callable[[], int]) -> MicrophoneSource:
    """The source `system` for a `choice` of `auto` or a part of a device's name.

    MicrophoneError, with a sentence on how to get one, where the system's sound cannot be heard.
    """
    return MicrophoneSource(
        _choose_backend(None if choice == "auto" else choice), clock=clock, name="system", kind="system"
    )


def _choose_backend(wanted: str | None) -> AudioBackend:
    if sys.platform == "win32":
        return WasapiLoopbackBackend(wanted)
    if sys.platform == "darwin":
        return PortAudioBackend(wanted or virtual_device([d["name"] for d in microphones(portaudio())]))
    return PulseAudioBackend(wanted)


def virtual_device(names: list[str]) -> str:
    """The virtual device among a Mac's inputs that hands on what it plays; MicrophoneError where there is none."""
    for name in names:
        if any(word in name.lower() for word in _VIRTUAL):
            return name
    raise MicrophoneError(
        "macOS lets no program hear what it plays: install a virtual device (brew install blackhole-2ch), join it and "
        "the speakers to a Multi-Output Device in Audio MIDI Setup, and choose that as output; or give --system-sound "
        "off."
    )
