"""Where this copy of the project keeps what is no code: configs, and what it downloads.

A copy is a checkout, in which configs and downloads lie beside the packages, or installed from a wheel, which carries
the configs inside core_models and whose own folder nothing may be written to.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from platformdirs import user_cache_path

_PACKAGE = Path(__file__).resolve().parent
# The name under which the project is installed; its top-level packages bear it as their mark.
DISTRIBUTION = "conversation-emotion-tracker"


def checkout_folder() -> Path | None:
    """The root of the checkout that this code is run from; None where it was installed from a wheel."""
    root = _PACKAGE.parent
    # Both, since a file of one of these names may stand beside any installed package.
    return root if (root / "pyproject.toml").is_file() and (root / "configs" / "models.yaml").is_file() else None


def configs_folder() -> Path:
    """The folder of the configs: `configs` of the checkout, or the copy that the wheel carries."""
    root = checkout_folder()
    return _PACKAGE / "configs" if root is None else root / "configs"


def find_config(path: str) -> str:
    """`path` where there is such a file, else the shipped config that it names, else `path` as it is.

    So `--config configs/listen_demo.yaml` and `--config listen_demo.yaml` mean the same in every folder.
    """
    shipped = configs_folder() / path.removeprefix("configs/")
    return str(shipped) if not Path(path).exists() and shipped.is_file() else path


def downloads_folder() -> Path:
    """Where downloads are kept: EMOTION_TRACKER_HOME, else `.cache` of the checkout, else the user's cache folder."""
    if given := os.environ.get("EMOTION_TRACKER_HOME"):
        return Path(given)
    root = checkout_folder()
    return user_cache_path(DISTRIBUTION, appauthor=False) if root is None else root / ".cache"


def name_shadow(package: str) -> str | None:
    """A sentence where another project's `package` is imported instead of this project's; None where it is ours.

    The registry has another project whose top-level package is `realtime`. Told by the packages' own mark and not by
    their place, because in one environment the two write into one folder.
    """
    try:
        found = import_module(package)
    except ImportError as error:
        return f"The package {package} cannot be imported ({error}): install {DISTRIBUTION} anew."
    if getattr(found, "__distribution__", None) == DISTRIBUTION:
        return None
    place = getattr(found, "__file__", None) or "a folder without code"
    return (
        f"Another package named {package} ({place}) hides this project's own: install {DISTRIBUTION} into an "
        "environment of its own, or run it from another folder."
    )
