"""``WAR-INF/MANIFEST.json``: what the archive of a workflow says of itself, in TorchServe's layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from flambeau.archive.manifest import MAX_MANIFEST_BYTES, can_stand_in_url
from flambeau.errors import InvalidWorkflow

WORKFLOW_MANIFEST_PATH = "WAR-INF/MANIFEST.json"
WORKFLOW_ARCHIVER_VERSION = "0.2.15"
"""The release of TorchServe's workflow archiver whose layout ``to_json`` writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowManifest:
    """One workflow's manifest. File names are relative to the archive's root."""

    workflow_name: str
    spec_file: str
    handler: str | None
    """The file of the functions; None: every node is a model."""
    created_on: str
    """``dd/mm/YYYY HH:MM:SS``, as written by whoever made the archive."""
    archiver_version: str

    def to_json(self) -> str:
        """The manifest file's text: TorchServe's keys in TorchServe's order; no ``handler`` where there is none."""
        workflow = {"workflowName": self.workflow_name, "specFile": self.spec_file, "handler": self.handler}
        document = {
            "createdOn": self.created_on,
            "workflow": {key: value for key, value in workflow.items() if value is not None},
            "archiverVersion": self.archiver_version,
        }
        return json.dumps(document, indent=2)


def parse_workflow_manifest(data: bytes, *, workflow_name: str | None = None) -> WorkflowManifest:
    """Read the manifest file's bytes.

    Args:
        workflow_name: given by whoever registers the workflow; it wins over the manifest's, which may then be missing.

    Raises:
        InvalidWorkflow: it is not a manifest. The message says what is wrong, and nothing of where the file lies.
    """
    document = _load(data)
    workflow = _object(document.get("workflow") or {}, "workflow")
    name = workflow_name or _text(workflow, "workflowName")
    if name is None:
        raise InvalidWorkflow("Workflow name is not defined.")
    if not can_stand_in_url(name):
        raise InvalidWorkflow(f"Workflow name {name!r} cannot stand in a URL.")
    archiver_version = _text(document, "archiverVersion")
    if archiver_version is None:
        raise InvalidWorkflow("Workflow archive version is not defined.")
    created_on = _text(document, "createdOn")
    if created_on is None:
        raise InvalidWorkflow("Workflow archive createdOn is not defined.")
    spec_file = _file_name(workflow, "specFile")
    if spec_file is None:
        raise InvalidWorkflow("Workflow specFile is not defined.")
    return WorkflowManifest(
        workflow_name=name,
        spec_file=spec_file,
        handler=_file_name(workflow, "handler"),
        created_on=created_on,
        archiver_version=archiver_version,
    )


def _load(data: bytes) -> Mapping[str, Any]:
    if len(data) > MAX_MANIFEST_BYTES:
        raise InvalidWorkflow(f"Manifest is larger than {MAX_MANIFEST_BYTES} bytes.")
    try:
        document = json.loads(data.decode("utf-8-sig"), parse_float=str, parse_int=str)
    except RecursionError:
        raise InvalidWorkflow("Manifest is not valid JSON: it is nested too deeply.") from None
    except ValueError as error:
        raise InvalidWorkflow(f"Manifest is not valid JSON: {error}") from None
    return _object(document, "the manifest")


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidWorkflow(f"Manifest is invalid: {what} must be a JSON object.")
    return value


def _text(entry: Mapping[str, Any], key: str) -> str | None:
    """The text under ``key``; None where it is missing, null or empty."""
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidWorkflow(f"Manifest is invalid: {key} must be a string.")
    return value or None


def _file_name(entry: Mapping[str, Any], key: str) -> str | None:
    """The same, for a file that the archive must have in it."""
    name = _text(entry, key)
    if name is not None and (PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name):
        raise InvalidWorkflow(f"Manifest is invalid: {key} must name a file of the archive.")
    return name
