"""Follows sound that a program has in its hands, 100 ms at a time: `python follow_own_frames.py call.wav`."""

import sys

import soundfile

from realtime import Tracker

with Tracker(speakers=["anna"]) as tracker, soundfile.SoundFile(sys.argv[1]) as recording:
    for chunk in recording.blocks(recording.samplerate // 10, dtype="float32"):
        tracker.feed(chunk, recording.samplerate, speaker="anna")
        for event in tracker.poll():
            print(event)
for event in tracker:  # what was still to be judged
    print(event)
