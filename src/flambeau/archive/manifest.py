"""``MAR-INF/MANIFEST.json``: what an archive says of itself, in TorchServe's layout."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from flambeau.errors import InvalidModel

MANIFEST_PATH = "MAR-INF/MANIFEST.json"
MAX_MANIFEST_BYTES = 1 << 20
"""A manifest has a dozen short lines. The limit keeps a hostile one from being parsed at all."""
RUNTIMES = ("python", "python3", "LSP")
ARCHIVER_VERSION = "0.12.0"
"""The release of TorchServe's archiver whose layout ``to_json`` writes."""
DEFAULT_VERSION = "1.0"

_ARCHIVE_SUFFIX = re.compile(r"\.(tar\.gz|[^.]+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One model's manifest. File names are relative to the archive's root."""

    model_name: str
    model_version: str = DEFAULT_VERSION
    runtime: str = "python"
    """One of :data:`RUNTIMES`."""
    handler: str | None = None
    """A built-in handler's name, or ``file[.py][:function]``. None: the server's default handler."""
    serialized_file: str | None = None
    model_file: str | None = None
    requirements_file: str | None = None
    config_file: str | None = None
    created_on: str | None = None
    """``dd/mm/YYYY HH:MM:SS``, as written by whoever made the archive."""
    archiver_version: str | None = None

    def to_json(self) -> str:
        """The manifest file's text: TorchServe's keys in TorchServe's order, those that are None left out."""
        model = {
            "modelName": self.model_name,
            "serializedFile": self.serialized_file,
            "handler": self.handler,
            "modelFile": self.model_file,
            "modelVersion": self.model_version,
            "requirementsFile": self.requirements_file,
            "configFile": self.config_file,
        }
        document = {
            "createdOn": self.created_on,
            "runtime": self.runtime,
            "model": {key: value for key, value in model.items() if value is not None},
            "archiverVersion": self.archiver_version,
        }
        return json.dumps({key: value for key, value in document.items() if value is not None}, indent=2)


def default_model_name(file_name: str, *, is_directory: bool = False) -> str:
    """The name of a model without a manifest: its file's, less the suffix, with ``_`` for what is no word character."""
    stem = file_name if is_directory else _ARCHIVE_SUFFIX.sub("", file_name)
    return re.sub(r"\W", "_", stem, flags=re.ASCII)


def parse_manifest(data: bytes, *, model_name: str | None = None, runtime: str | None = None) -> Manifest:
    """Read the manifest file's bytes.

    Args:
        model_name, runtime: given by whoever registers the model; they win over the manifest's, which may then be
            missing or invalid.

    Raises:
        InvalidModel: it is not a manifest. The message says what is wrong, and nothing of where the file lies.
    """
    document = _object(_load(data), "the manifest")
    if "model" not in document:
        raise InvalidModel("Missing Model entry in manifest file.")
    model = _object(document["model"], "model")
    name = model_name or _text(model, "modelName")
    if name is None:
        raise InvalidModel("Model name is not defined.")
    return Manifest(
        model_name=_segment(name, "Model name"),
        model_version=_segment(_text(model, "modelVersion") or DEFAULT_VERSION, "Model version"),
        runtime=_known_runtime(runtime or document.get("runtime")),
        handler=_text(model, "handler"),
        serialized_file=_text(model, "serializedFile"),
        model_file=_text(model, "modelFile"),
        requirements_file=_inside(_text(model, "requirementsFile"), "requirementsFile"),
        config_file=_inside(_text(model, "configFile"), "configFile"),
        created_on=_text(document, "createdOn"),
        archiver_version=_text(document, "archiverVersion"),
    )


def absent_manifest(default_name: str, *, model_name: str | None = None, runtime: str | None = None) -> Manifest:
    """What stands in for a manifest that an archive does not have.

    Raises:
        InvalidModel: ``runtime`` is given and unknown, or there is no name, or none that a URL can have.
    """
    name = model_name or default_name
    if not name:
        raise InvalidModel("Model name is not defined.")
    return Manifest(model_name=_segment(name, "Model name"), runtime=_known_runtime(runtime or "python"))


def _load(data: bytes) -> object:
    if len(data) > MAX_MANIFEST_BYTES:
        raise InvalidModel(f"Manifest is larger than {MAX_MANIFEST_BYTES} bytes.")
    try:
        # A version written as a number (``"modelVersion": 1.10``) keeps its spelling.
        return json.loads(data.decode("utf-8-sig"), parse_float=str, parse_int=str)
    except RecursionError:
        raise InvalidModel("Manifest is not valid JSON: it is nested too deeply.") from None
    except ValueError as error:
        raise InvalidModel(f"Manifest is not valid JSON: {error}") from None


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidModel(f"Manifest is invalid: {what} must be a JSON object.")
    return value


def _text(entry: Mapping[str, Any], key: str) -> str | None:
    """The text under ``key``; None where it is missing, null or empty."""
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidModel(f"Manifest is invalid: {key} must be a string.")
    return value or None


def _known_runtime(value: object) -> str:
    if not isinstance(value, str) or value not in RUNTIMES:
        raise InvalidModel("Runtime is not defined or invalid.")
    return value


def can_stand_in_url(name: str) -> bool:
    """Whether a name or version can be one segment of a URL's path."""
    return bool(name) and "/" not in name and name not in (".", "..") and name.isprintable()


def _segment(name: str, what: str) -> str:
    """Refuse what cannot be one segment of a URL's path: no request would ever reach the model."""
    if not can_stand_in_url(name):
        raise InvalidModel(f"{what} {name!r} cannot stand in a URL.")
    return name


def _inside(name: str | None, key: str) -> str | None:
    """Refuse a file outside the archive: the server itself reads these, while weights and code are the worker's."""
    if name is not None and (PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts):
        raise InvalidModel(f"Manifest is invalid: {key} must name a file of the archive.")
    return name
