"""The ready file: how scripts learn that a server is up, and on which ports."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


class ReadyFile:
    """A file that exists from when the server's listeners are bound until it stops."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, addresses: Mapping[str, str]) -> None:
        """Bring it into being, whole at once: process id and bound addresses, as JSON."""
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
        partial.write_text(json.dumps({"pid": os.getpid(), **addresses}, indent=2) + "\n")
        os.replace(partial, self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
