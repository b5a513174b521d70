"""The same beside other work of an event loop, and only what was felt: `python follow_async.py call.wav`."""

import asyncio
import sys

import soundfile

from realtime import Tracker
from realtime.protocol.events import EmotionFinal


async def send(tracker: Tracker, path: str) -> None:
    samples, rate = soundfile.read(path, dtype="float32")
    for start in range(0, len(samples), rate):
        # `feed` waits where this machine is behind, so it has a thread of its own.
        await asyncio.to_thread(tracker.feed, samples[start : start + rate], rate)
    await asyncio.to_thread(tracker.close)


async def main() -> None:
    async with Tracker() as tracker:
        sending = asyncio.create_task(send(tracker, sys.argv[1]))
        async for event in tracker:
            if isinstance(event, EmotionFinal):
                print(event.speaker, event.emotion, event.text)
        await sending


asyncio.run(main())
