"""Headerless PCM, as telephone services hand it out: what a file does not say of itself is said with `--raw-format`."""

from __future__ import annotations

from dataclasses import dataclass

from core_models.errors import UsageError

# Linear 16-bit little-endian samples at 16 kHz, one channel: what most services deliver.
EXAMPLE = "s16le:16000:1"
_ENCODINGS = ("s16le", "s16be", "u8", "s8", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be", "mulaw", "alaw")
# More channels than a recorder of calls has; a larger number is a slip of the hand.
_MOST_CHANNELS = 8


@dataclass(frozen=True)
class RawFormat:
    """How samples without a header are to be read: FFmpeg's name of their encoding, Hz, and channels."""

    encoding: str
    rate: int
    channels: int

    @property
    def demuxer_options(self) -> dict[str, str]:
        """The same for FFmpeg's demuxer of this encoding."""
        return {"sample_rate": str(self.rate), "ch_layout": f"{self.channels}C"}


def parse_raw_format(text: str) -> RawFormat:
    """`ENCODING:RATE:CHANNELS`, such as s16le:16000:1. UsageError, with what is wrong, for anything else."""
    encoding, _, rest = text.partition(":")
    rate, _, channels = rest.partition(":")
    if encoding not in _ENCODINGS:
        raise UsageError(
            f"--raw-format {text} names no encoding: give one of {', '.join(_ENCODINGS)}, as in {EXAMPLE}."
        )
    if not (rate.isdecimal() and 1_000 <= int(rate) <= 384_000):
        raise UsageError(f"--raw-format {text} names no rate in Hz: write ENCODING:RATE:CHANNELS, as in {EXAMPLE}.")
    if not (channels.isdecimal() and 1 <= int(channels) <= _MOST_CHANNELS):
        raise UsageError(
            f"--raw-format {text} names no number of channels: write ENCODING:RATE:CHANNELS, as in {EXAMPLE}."
        )
    return RawFormat(encoding, int(rate), int(channels))
