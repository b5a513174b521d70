"""Which microphones, outputs and cameras there are."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core_models.errors import MicrophoneError
from realtime.sources.audio_backends.portaudio import find_microphone, microphones, portaudio
from realtime.sources.loopback import system_sound

# Cameras that are opened in turn on systems that do not list them.
_PROBED = 4
_VIDEO4LINUX = Path("/sys/class/video4linux")


@dataclass(frozen=True, slots=True)
class Device:
    """A `microphone`, `system` (what this computer plays) or `camera`; its number or name chooses it.

    `default` is used where none is chosen. `number` is None where only a name chooses.
    """

    kind: str
    number: int | None
    name: str
    default: bool


def list_devices() -> tuple[list[Device], list[str]]:
    """The devices, microphones first, and a sentence for each kind of which there is none."""
    devices: list[Device] = []
    missing: list[str] = []
    try:
        sound = portaudio()
        default = find_microphone(sound)["index"]
        devices += [Device("microphone", d["index"], d["name"], d["index"] == default) for d in microphones(sound)]
    except MicrophoneError as error:
        missing.append(str(error))
    try:
        heard = system_sound("auto", clock=lambda: 0)
        devices.append(Device(heard.kind, None, heard.detail, True))
    except MicrophoneError as error:
        missing.append(str(error))
    cameras = _listed_cameras() if sys.platform == "linux" else _probed_cameras()
    devices += [Device("camera", number, name, number == 0) for number, name in cameras]
    if not cameras:
        missing.append("No camera was found: the call is followed without faces.")
    return devices, missing


def device_table() -> RenderableType:
    """`list_devices` for people."""
    devices, missing = list_devices()
    table = Table("", "number", "name", "")
    for device in devices:
        number = "" if device.number is None else str(device.number)
        table.add_row(device.kind, number, Text(device.name), "will be used" if device.default else "")
    return Group(*([table] if devices else []), *(Text(sentence) for sentence in missing))


def _listed_cameras() -> list[tuple[int, str]]:
    """Linux says so without opening any; a webcam's nodes after its first carry no pictures."""
    return [
        (int(node.name.removeprefix("video")), (node / "name").read_text().strip())
        for node in sorted(_VIDEO4LINUX.glob("video*"))
        if (node / "index").read_text().strip() == "0"
    ]


def _probed_cameras() -> list[tuple[int, str]]:
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    found = []
    for number in range(_PROBED):
        capture = cv2.VideoCapture(number)
        if capture.isOpened():
            found.append((number, f"camera {number}"))
        capture.release()
    return found
