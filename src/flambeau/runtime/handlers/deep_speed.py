"""Models spread over several GPUs by DeepSpeed: ``deepspeed`` of a model's YAML."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from flambeau.errors import InvalidModel
from flambeau.runtime.handlers.base import BaseHandler

logger = logging.getLogger(__name__)


class BaseDeepSpeedHandler(BaseHandler):
    """One of the processes that a model is spread over. Subclasses load the model themselves."""

    def initialize(self, ctx: Any) -> None:
        """Take the GPU that has this process's number, ``LOCAL_RANK``."""
        self.device = int(os.environ.get("LOCAL_RANK", "0"))


def get_ds_engine(model: Any, ctx: Any) -> Any:
    """What ``deepspeed.init_inference`` makes of a model.

    The YAML's ``deepspeed`` may have ``config``, a file of the archive with DeepSpeed's own settings, and
    ``checkpoint``, a file that is written with the list of the weights under ``handler.model_path``.

    Raises:
        InvalidModel: the YAML has no ``deepspeed``, or the archive no such ``config``.
    """
    import deepspeed

    settings = ctx.model_yaml_config.get("deepspeed")
    if settings is None:
        raise InvalidModel(f"{ctx.model_name} has no deepspeed config in model config yaml file")
    model_dir = ctx.system_properties["model_dir"]
    model_path = ctx.model_yaml_config["handler"]["model_path"]
    config, checkpoint = (
        os.path.join(model_dir, settings[key]) if key in settings else None for key in ("config", "checkpoint")
    )
    if config is not None and not os.path.isfile(config):
        raise InvalidModel(f"{ctx.model_name} has no deepspeed config file {config}")
    if checkpoint is not None:
        create_checkpoints_json(model_path, checkpoint)
    return deepspeed.init_inference(model, config=config, base_dir=model_path, checkpoint=checkpoint)


def create_checkpoints_json(model_path: str | Path, checkpoints_json: str | Path) -> None:
    """Write the list of the weights (``.bin``, ``.pt``) under a folder, as DeepSpeed reads it."""
    files = sorted(
        str(path) for path in Path(model_path).rglob("*") if path.suffix in (".bin", ".pt") and path.is_file()
    )
    logger.info("DeepSpeed's list of %d checkpoint files goes to %s", len(files), checkpoints_json)
    Path(checkpoints_json).write_text(json.dumps({"type": "ds_model", "checkpoints": files, "version": 1.0}))
