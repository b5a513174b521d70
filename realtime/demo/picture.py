"""`python -m realtime.demo.picture FILE`: the picture of the page in README, taken after the demonstration.

Runs `realtime.listen` on the demonstration, as fast as it can be judged, and opens its page in Chromium.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from core_models.errors import TrackerError, UsageError
from realtime.bench.workloads.chromium import FLAGS, browser

_LISTEN = (sys.executable, "-m", "realtime.listen", "--config", "configs/listen_demo.yaml")
_OPTIONS = ("--pace", "fast", "--port", "0", "--hold", "true", "--keep-journal", "false")
# A laptop's window: the transcript has room, and the picture stays under 200 kB.
_VIEWPORT = {"width": 1280, "height": 800}


def take_picture(target: Path) -> None:
    """Write the page of the demonstration to `target` as PNG, when the recording has ended."""
    chromium = browser()
    if chromium is None:
        raise UsageError("There is no Chromium here: install it, or name it in the environment variable CHROMIUM.")
    from playwright.sync_api import sync_playwright  # an extra of developers

    listening = subprocess.Popen([*_LISTEN, *_OPTIONS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert listening.stdout is not None
        address = None
        for line in listening.stdout:
            if found := re.search(r"page: (http\S+)", line):
                address = found[1]
            if "The recording has ended" in line:
                break
        if address is None:
            raise UsageError("realtime.listen printed no page: run `make demo` and read what it says.")
        with sync_playwright() as playwright:
            chrome = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = chrome.new_page(viewport=_VIEWPORT, color_scheme="light")
            page.goto(address)
            page.locator("#transcript article").first.wait_for()
            # The page draws what it has caught up with, lane by lane.
            page.wait_for_timeout(2_000)
            page.screenshot(path=str(target))
            chrome.close()
    finally:
        listening.terminate()
        listening.wait()


def main(arguments: list[str] | None = None) -> int:
    """Take the picture; return an exit code (core_models/errors.py)."""
    parser = argparse.ArgumentParser(prog="python -m realtime.demo.picture", description=__doc__)
    parser.add_argument("file", type=Path, help="where to write it, for example realtime/demo/page.png")
    try:
        take_picture(parser.parse_args(arguments).file)
    except TrackerError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
