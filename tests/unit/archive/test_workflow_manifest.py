"""Manifests of workflows."""

import json

import pytest

from flambeau.archive.workflow_manifest import WorkflowManifest, parse_workflow_manifest
from flambeau.errors import InvalidWorkflow

WRITTEN = {
    "createdOn": "22/11/2026 01:05:17",
    "workflow": {"workflowName": "seq", "specFile": "seq.yaml", "handler": "functions.py"},
    "archiverVersion": "0.2.15",
}
PARSED = WorkflowManifest(
    workflow_name="seq",
    spec_file="seq.yaml",
    handler="functions.py",
    created_on="22/11/2026 01:05:17",
    archiver_version="0.2.15",
)


def encoded(document):
    return json.dumps(document).encode()


def without(*path):
    document = json.loads(json.dumps(WRITTEN))
    *parents, last = path
    entry = document
    for key in parents:
        entry = entry[key]
    del entry[last]
    return encoded(document)


def test_a_manifest_is_written_as_torch_workflow_archiver_writes_it():
    assert PARSED.to_json() == json.dumps(WRITTEN, indent=2)


def test_what_is_written_is_what_is_read():
    assert parse_workflow_manifest(PARSED.to_json().encode()) == PARSED


def test_the_name_that_is_given_wins():
    assert parse_workflow_manifest(encoded(WRITTEN), workflow_name="mine").workflow_name == "mine"
    assert parse_workflow_manifest(without("workflow", "workflowName"), workflow_name="mine").workflow_name == "mine"


def test_a_workflow_of_models_alone_needs_no_handler():
    assert parse_workflow_manifest(without("workflow", "handler")).handler is None


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (without("workflow"), "Workflow name is not defined."),
        (without("workflow", "workflowName"), "Workflow name is not defined."),
        (without("archiverVersion"), "Workflow archive version is not defined."),
        (without("createdOn"), "Workflow archive createdOn is not defined."),
        (without("workflow", "specFile"), "Workflow specFile is not defined."),
        (b"{nope", "Manifest is not valid JSON: "),
        (b"[]", "Manifest is invalid: the manifest must be a JSON object."),
        (b"[" * 100_000, "Manifest is not valid JSON: "),
        (b" " * (1 << 20) + b"{}", "Manifest is larger than "),
        (encoded({**WRITTEN, "createdOn": {}}), "Manifest is invalid: createdOn must be a string."),
        (
            encoded({**WRITTEN, "workflow": {**WRITTEN["workflow"], "specFile": "../../etc/passwd"}}),
            "Manifest is invalid: specFile must name a file of the archive.",
        ),
        (
            encoded({**WRITTEN, "workflow": {**WRITTEN["workflow"], "handler": "/tmp/x.py"}}),
            "Manifest is invalid: handler must name a file of the archive.",
        ),
        (
            encoded({**WRITTEN, "workflow": {**WRITTEN["workflow"], "workflowName": "a/b"}}),
            "Workflow name 'a/b' cannot stand in a URL.",
        ),
    ],
)
def test_what_is_wrong_is_said(data, sentence):
    with pytest.raises(InvalidWorkflow) as refused:
        parse_workflow_manifest(data)
    assert refused.value.message.startswith(sentence)
