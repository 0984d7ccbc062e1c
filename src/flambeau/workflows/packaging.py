"""Decide what goes into the archive of a workflow, before a byte of it is written."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from flambeau.archive.entry_point import check_entry_point
from flambeau.archive.gathering import (
    GatheredFiles,
    check_export_path,
    check_name,
    check_not_there,
    existing_file,
    source_date_epoch,
)
from flambeau.archive.plan import ArchivePlan
from flambeau.archive.workflow_manifest import WORKFLOW_ARCHIVER_VERSION, WORKFLOW_MANIFEST_PATH, WorkflowManifest
from flambeau.errors import InvalidGraph, InvalidWorkflow, PackagingError
from flambeau.workflows.spec import WorkflowSpec, parse_spec


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowArchiveSpec:
    """What to package: the options of ``torch-workflow-archiver``, under their names."""

    workflow_name: str
    spec_file: Path
    """YAML: the models, and the graph."""
    handler: Path | None = None
    """Python file with the functions of the graph; None: it has none."""
    extra_files: tuple[str, ...] = ()
    """Files, directories (what is in them goes to the archive's root) and glob patterns."""
    export_path: Path = field(default_factory=Path.cwd)
    """Directory to write to; it is made if need be."""
    force: bool = False
    """Whether to replace an archive that exists."""


def plan_workflow_archive(spec: WorkflowArchiveSpec) -> ArchivePlan:
    """Find and check all files of a workflow's archive, ``<name>.war``.

    The environment variable ``SOURCE_DATE_EPOCH`` makes the archive reproducible.

    Raises:
        PackagingError: it cannot be built: a bad name, a missing file, a specification that could not be served, code
            that does not parse, two files for one name, or a target that exists.
    """
    check_name(spec.workflow_name, "workflow")
    check_export_path(spec.export_path)
    target = spec.export_path / f"{spec.workflow_name}.war"
    if not spec.force or target.is_dir():
        check_not_there(target, "workflow")
    workflow = _read_spec(spec.spec_file)
    warnings = list(workflow.warnings)
    files = GatheredFiles(target, WORKFLOW_MANIFEST_PATH)
    files.add(spec.spec_file.name, spec.spec_file)
    if spec.handler is not None:
        files.add(spec.handler.name, existing_file(spec.handler))
        for function in workflow.functions:
            warnings += check_entry_point(spec.handler, function)
    elif workflow.functions:
        raise PackagingError(
            f"{spec.spec_file}: {', '.join(workflow.functions)}: no such model, and there is no file of functions.",
            "Name the file with --handler, or list them under models.",
        )
    for pattern in spec.extra_files:
        files.add_extra(pattern.strip())
    timestamp = source_date_epoch()
    made_at = time.localtime() if timestamp is None else time.gmtime(timestamp)
    return ArchivePlan(
        target=target,
        archive_format="default",
        manifest=WorkflowManifest(
            workflow_name=spec.workflow_name,
            spec_file=spec.spec_file.name,
            handler=None if spec.handler is None else spec.handler.name,
            created_on=time.strftime("%d/%m/%Y %H:%M:%S", made_at),
            archiver_version=WORKFLOW_ARCHIVER_VERSION,
        ),
        entries=files.entries(),
        timestamp=timestamp,
        warnings=(*warnings, *files.warnings),
        manifest_path=WORKFLOW_MANIFEST_PATH,
    )


def _read_spec(path: Path) -> WorkflowSpec:
    try:
        return parse_spec(existing_file(path).read_text(encoding="utf-8"), path.name)
    except (InvalidWorkflow, InvalidGraph) as error:
        raise PackagingError(f"{path}: {error.message}") from error
    except UnicodeDecodeError:
        raise PackagingError(f"{path} is not UTF-8 text.") from None
