"""`python -m realtime.analyse FILE|FOLDER|GLOB ...`: many recordings, one table (realtime/cli/recording_batch.py).

Nothing imports this module: as an attribute of the package it would hide the function `realtime.analyse`.
"""

from realtime.cli.recording_batch import main

if __name__ == "__main__":
    raise SystemExit(main())
