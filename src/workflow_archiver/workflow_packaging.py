import logging
from argparse import Namespace
from pathlib import Path

from flambeau.archive.writer import write_plan
from flambeau.cli.torch_workflow_archiver import main as generate_workflow_archive
from flambeau.workflows.packaging import WorkflowArchiveSpec, plan_workflow_archive

logger = logging.getLogger(__name__)


def package_workflow(args: Namespace, manifest: object = None) -> None:
    """Write an archive; what is allowed but probably not meant is logged.

    Args:
        args: the options of ``torch-workflow-archiver``, as attributes.
        manifest: not used: the archive's manifest is made of ``args``.

    Raises:
        WorkflowArchiverError: it cannot be built; says why.
    """
    handler = getattr(args, "handler", None)
    plan = plan_workflow_archive(
        WorkflowArchiveSpec(
            workflow_name=args.workflow_name,
            spec_file=Path(args.spec_file),
            handler=Path(handler) if handler else None,
            extra_files=tuple((getattr(args, "extra_files", None) or "").split(",")),
            export_path=Path(getattr(args, "export_path", None) or Path.cwd()),
            force=bool(getattr(args, "force", False)),
        )
    )
    for warning in plan.warnings:
        logger.warning("%s", warning)
    write_plan(plan)


__all__ = ["generate_workflow_archive", "package_workflow"]
