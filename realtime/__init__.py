"""The live pipeline, `python -m realtime.listen`, and its Python API (realtime/README.md):

    from realtime import Tracker, analyse

Both load on first use, since torch and what they need beside it take seconds. realtime/__init__.pyi has their types.
"""

from importlib import import_module

__distribution__ = "conversation-emotion-tracker"

_PLACES = {
    "Analysis": "realtime.api.analysis",
    "Client": "realtime.client",
    "Tracker": "realtime.api.live_tracker",
    "analyse": "realtime.api.analysis",
}


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
