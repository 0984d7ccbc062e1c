"""Workflow archives: their specification, the models that they use, and the code of their functions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from flambeau.archive.described import exists
from flambeau.archive.store import is_remote
from flambeau.archive.workflow_reader import open_workflow_archive
from flambeau.errors import ServingError
from flambeau.migrate.code import check_code
from flambeau.migrate.findings import PAGE, Finding, Severity
from flambeau.workflows.spec import MAX_SPEC_BYTES, parse_spec


def check_workflows(workflow_store: Path, model_store: Path) -> Iterator[Finding]:
    """What is to be said of each workflow archive.

    Args:
        workflow_store: the folder of the archives.
        model_store: where the models that they name are.
    """
    for path in sorted(workflow_store.glob("*.war")):
        with tempfile.TemporaryDirectory(prefix="flambeau-migrate-") as unpack_root:
            try:
                workflow = open_workflow_archive(path, Path(unpack_root))
                spec = parse_spec(workflow.spec_text(MAX_SPEC_BYTES), workflow.manifest.spec_file)
            except ServingError as error:
                yield Finding(severity=Severity.BLOCKS, what=str(error), file=path.name, doc=PAGE)
                continue
            for warning in spec.warnings:
                yield Finding(severity=Severity.NOTE, what=warning.rstrip("."), file=path.name, doc=PAGE)
            for node in spec.nodes:
                if node.url is not None and not is_remote(node.url) and not exists(model_store / node.url):
                    yield Finding(
                        severity=Severity.BLOCKS,
                        what=f"node {node.name} is {node.url}, which is not in the model store",
                        todo="put it there",
                        file=path.name,
                        doc=PAGE,
                    )
            for finding in check_code(workflow.directory, {workflow.manifest.handler or ""}):
                yield replace(finding, file=f"{path.name}/{finding.file}")
