"""Judges one recording and prints who felt what: `python judge_recording.py call.wav`."""

import sys

from realtime import analyse

for utterance in analyse(sys.argv[1]).utterances:
    print(f"{utterance.start_ms / 1000:7.1f}  {utterance.name}  {utterance.emotion}  {utterance.text}")
