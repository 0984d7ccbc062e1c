"""Models cut into stages on several GPUs by PiPPy: ``pippy`` of a model's YAML."""

from __future__ import annotations

import inspect
import logging
import os
from typing import Any

import torch

from flambeau.errors import InvalidModel
from flambeau.runtime.handlers.base import BaseHandler

logger = logging.getLogger(__name__)


class BasePippyHandler(BaseHandler):
    """One of the processes that a model is cut over. Subclasses load the model themselves."""

    def initialize(self, ctx: Any) -> None:
        """Take a GPU by this process's number, and meet the other processes.

        Raises:
            KeyError: ``LOCAL_RANK`` and ``WORLD_SIZE`` are not set: it was not torchrun that started this process.
        """
        self.local_rank = int(os.environ["LOCAL_RANK"])
        self.world_size = int(os.environ["WORLD_SIZE"])
        self.device = self.local_rank % torch.cuda.device_count()
        initialize_rpc_workers(self.local_rank, self.world_size, ctx)


def initialize_rpc_workers(local_rank: int, world_size: int, ctx: Any) -> None:
    """Join torch's RPC network as ``worker<local_rank>``.

    ``pippy`` of the YAML has ``num_worker_threads`` and ``rpc_timeout`` (seconds).
    """
    from torch.distributed import rpc

    settings = ctx.model_yaml_config["pippy"]
    options = rpc.TensorPipeRpcBackendOptions(
        num_worker_threads=settings["num_worker_threads"], rpc_timeout=settings["rpc_timeout"]
    )
    gpus = torch.cuda.device_count()
    for rank in range(world_size if gpus else 0):
        options.set_device_map(f"worker{rank}", {local_rank % gpus: rank % gpus})
    logger.info("rank %d of %d joins as process %d", local_rank, world_size, os.getpid())
    rpc.init_rpc(f"worker{local_rank}", rank=local_rank, world_size=world_size, rpc_backend_options=options)


def get_pipeline_driver(model: Any, world_size: int, ctx: Any) -> Any:
    """A model cut into as many stages as there are processes, to be called like the model.

    Args:
        ctx: its YAML has ``pippy.input_names``, ``pippy.model_type`` (``HF`` for a model of transformers) and
            ``handler.model_path``; it may have ``pippy.chunks`` and ``handler.index_filename``.

    Raises:
        InvalidModel: a key or the index file is missing.
    """
    import pippy

    config = ctx.model_yaml_config
    for section, key in (("pippy", "input_names"), ("pippy", "model_type"), ("handler", "model_path")):
        if key not in (config.get(section) or {}):
            raise InvalidModel(f"Missing '{section}.{key}' in the model's YAML")
    index = config["handler"].get("index_filename")
    index_path = os.path.join(config["handler"]["model_path"], index) if index else None
    if index_path is not None and not os.path.isfile(index_path):
        raise InvalidModel(f"Index file {index_path!r} not found")
    is_transformer = config["pippy"]["model_type"] == "HF"
    model.eval()
    parameters = inspect.signature(model.forward).parameters.values()
    fixed = {item.name: item.default for item in parameters if item.name not in config["pippy"]["input_names"]}
    tracer = None
    if is_transformer:
        from pippy.hf import PiPPyHFTracer, inject_pipeline_forward

        tracer = PiPPyHFTracer()
        if "bloom" in type(model).__name__.lower():
            fixed.setdefault("deprecated_arguments", {})
    driver, _ = pippy.all_compile(
        model,
        num_ranks=world_size,
        num_chunks=config["pippy"].get("chunks", 1),
        schedule="FillDrain",
        split_policy=pippy.split_into_equal_size(world_size),
        tracer=tracer,
        concrete_args=fixed,
        index_filename=index_path,
        checkpoint_prefix=None,
    )
    if not is_transformer:
        return driver
    inject_pipeline_forward(model, driver)
    return model
