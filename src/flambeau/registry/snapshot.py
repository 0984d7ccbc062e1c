"""Snapshots: what is being served, as files that a restart reads back.

The format is TorchServe's, so that either server restores what the other wrote: a properties file with all settings of
the server and one more, ``model_snapshot``, whose value is JSON.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated

import msgspec

from flambeau.config.properties import ENCODING, format_properties
from flambeau.errors import ConfigError

SNAPSHOTS_KEPT = 100
"""Older ones are deleted when one is written. Each scale call writes one, so an autoscaler would fill the disk."""

MODEL_SNAPSHOT_KEY = "model_snapshot"

_FILE_NAME = re.compile(r"\d{17}-(startup|snapshot|shutdown)\.cfg")

_Count = Annotated[int, msgspec.Meta(ge=0)]
_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class SnapshotKind(Enum):
    """On what occasion a snapshot is taken. The value is part of the file's name."""

    STARTUP = "startup"
    SNAPSHOT = "snapshot"
    """After a change to the models."""
    SHUTDOWN = "shutdown"


class SnapshotModel(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One version of a model, with the keys and units of the file."""

    default_version: bool = False
    mar_name: Annotated[str, msgspec.Meta(min_length=1)]
    """Its archive: a name in the model store."""
    min_workers: _Count
    max_workers: _Count
    batch_size: _AtLeastOne
    max_batch_delay: _Count
    """Milliseconds."""
    response_timeout: _AtLeastOne
    """Seconds."""
    startup_timeout: _AtLeastOne = 120
    """Seconds. Snapshots of older TorchServe releases lack it."""
    runtime_type: str = "python"
    parallel_level: _Count = 0


SnapshotModels = Mapping[str, Mapping[str, SnapshotModel]]
"""Models by name, then by version, in order of registration."""


def write_snapshot(
    directory: Path, kind: SnapshotKind, properties: Mapping[str, str], models: SnapshotModels, now: datetime
) -> Path:
    """Write a snapshot, whole or not at all, and delete those that are too old.

    Args:
        directory: made if it does not exist.
        properties: the settings of the server in the words of ``config.properties``. They may hold passwords, so the
            file is readable to its owner only.
        now: with a time zone, or in local time, which is what the file's name shows.

    Returns:
        The file, which is on the disk and is now the latest.

    Raises:
        OSError: it could not be written; what was there before still is.
    """
    name = f"{now:%Y%m%d%H%M%S}{now.microsecond // 1000:03d}-{kind.value}.cfg"
    settings = {**properties, MODEL_SNAPSHOT_KEY: _models_json(name, models, now)}
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    _write_atomically(path, format_properties(settings).encode(ENCODING), now.timestamp())
    for old in _snapshots(directory)[:-SNAPSHOTS_KEPT]:
        old.unlink(missing_ok=True)
    return path


def latest_snapshot(directory: Path) -> Path | None:
    """The newest snapshot of a directory, TorchServe's included; None if there is none."""
    snapshots = _snapshots(directory)
    return snapshots[-1] if snapshots else None


def parse_model_snapshot(snapshot: Mapping[str, object]) -> dict[str, dict[str, SnapshotModel]]:
    """Check the decoded value of ``model_snapshot``. Keys that are not known are passed over.

    Returns:
        Models by name, then by version, in the order of the file.

    Raises:
        ConfigError: something is missing or wrong; names the model, the version and the key.
    """
    models: dict[str, dict[str, SnapshotModel]] = {}
    for name, versions in _object_at(f"{MODEL_SNAPSHOT_KEY}.models", snapshot.get("models")).items():
        key = f"{MODEL_SNAPSHOT_KEY}.models.{name}"
        models[name] = {
            version: _parse_version(f"{key}.{version}", value) for version, value in _object_at(key, versions).items()
        }
        defaults = [version for version, model in models[name].items() if model.default_version]
        if len(defaults) > 1:
            raise ConfigError(key, ", ".join(defaults), "only one version can be the default")
    return models


def _object_at(key: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ConfigError(key, value, "must be a JSON object")
    return value


def _parse_version(key: str, value: object) -> SnapshotModel:
    try:
        model = msgspec.convert(value, SnapshotModel)
    except msgspec.ValidationError as error:
        raise ConfigError(key, value, str(error)) from None
    if model.max_workers < model.min_workers:
        raise ConfigError(f"{key}.maxWorkers", model.max_workers, "must not be less than minWorkers")
    return model


def _models_json(name: str, models: SnapshotModels, now: datetime) -> str:
    content = {
        "name": name,
        "modelCount": sum(len(versions) for versions in models.values()),
        "created": int(now.timestamp() * 1000),
        "models": models,
    }
    return msgspec.json.encode(content).decode()


def _snapshots(directory: Path) -> list[Path]:
    """The snapshots of a directory, oldest first.

    Names are in local time, which goes back once a year, so the time of the file counts first.
    """
    paths = [path for path in directory.glob("*.cfg") if _FILE_NAME.fullmatch(path.name)]
    return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _write_atomically(path: Path, content: bytes, modified_at: float) -> None:
    """Bring a file to the disk under its name only once all of it is there."""
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.utime(partial, (modified_at, modified_at))
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    """Bring a rename to the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
