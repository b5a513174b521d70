"""The Chromium of this machine, for the benchmark of the page and for tests."""

from __future__ import annotations

import os
import shutil

# How Chromium is started where there is no screen, as root too, and without connections of its own.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--enable-precise-memory-info"),
)


def browser() -> str | None:
    """The Chromium of this machine (or CHROMIUM's value); None where there is none."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)
