"""Models that are no archive: the description of a pipeline, and an object in a Python file. Served where they lie."""

from __future__ import annotations

import os
from pathlib import Path

from flambeau.archive.manifest import Manifest, default_model_name

DESCRIPTION_SUFFIXES = (".yaml", ".yml", ".toml")
"""Of files that describe a pipeline."""


def exists(source: Path) -> bool:
    """Whether there is a model at a path: a file or a folder, or the Python file of ``file.py:name``."""
    return os.path.exists(source) or _python_file(source) is not None


def described_manifest(source: Path, model_name: str | None, runtime: str | None) -> Manifest | None:
    """What stands for the manifest of a model that is no archive; None: it may be one.

    The handler is the description itself, or ``file.py:name``. A YAML description is the model's configuration too.
    """
    runtime = runtime or "python"
    if source.suffix in DESCRIPTION_SUFFIXES and os.path.isfile(source):
        return Manifest(
            model_name=model_name or default_model_name(source.name),
            runtime=runtime,
            handler=source.name,
            config_file=None if source.suffix == ".toml" else source.name,
        )
    file = _python_file(source)
    if file is None:
        return None
    name = source.name.rpartition(":")[2]
    return Manifest(model_name=model_name or name, runtime=runtime, handler=f"{file.name}:{name}")


def _python_file(source: Path) -> Path | None:
    """The file of ``file.py:name``, if it is there."""
    file, colon, name = source.name.rpartition(":")
    path = source.with_name(file) if file else source
    return path if colon and name.isidentifier() and path.suffix == ".py" and os.path.isfile(path) else None
