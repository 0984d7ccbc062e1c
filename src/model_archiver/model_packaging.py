import logging

from flambeau.archive.plan import plan_archive
from flambeau.archive.writer import write_plan
from model_archiver.model_archiver_config import ModelArchiverConfig

logger = logging.getLogger(__name__)


def generate_model_archive(config: ModelArchiverConfig) -> None:
    """Write an archive; what is allowed but probably not meant is logged.

    Raises:
        ModelArchiverError: it cannot be built; says why.
    """
    plan = plan_archive(config.to_spec())
    for warning in plan.warnings:
        logger.warning("%s", warning)
    write_plan(plan)


__all__ = ["generate_model_archive"]
