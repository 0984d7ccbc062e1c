"""Packages that only some stages need, imported when such a stage is made."""

from __future__ import annotations

import importlib
import sys
from typing import Any

PIP_NAMES = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
}
"""By module, where ``pip install`` wants another name."""


def require(module: str) -> Any:
    """Import a module, or one inside it.

    Raises:
        ModuleNotFoundError: its package is not installed; the message says what to install. An error from inside a
            package that is there is raised as it is.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ModuleNotFoundError(
            f"{package} is not installed in {sys.executable}; install it with pip install {pip_name(package)}",
            name=package,
        ) from None


def pip_name(package: str) -> str:
    """What ``pip install`` calls the package that a module comes with."""
    return PIP_NAMES.get(package, package)
