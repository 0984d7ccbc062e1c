"""The configuration that ``torchserve`` prints when it starts, line by line as TorchServe does."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import flambeau
from flambeau.config.sources import LoadedConfig
from flambeau.workers.devices import detect_gpus

TORCHSERVE_VERSION = "0.12.0"
"""The release whose behaviour the ``torchserve`` command has."""

_NOT_HERE = "N/A"
"""Said of what only a Java server has."""


def configuration_dump(loaded: LoadedConfig) -> str:
    """``key: value`` lines, in TorchServe's order, with its keys."""
    config = loaded.config
    properties = loaded.config.effective_properties
    gpus = detect_gpus()
    lines = {
        "Torchserve version": f"{TORCHSERVE_VERSION} (Flambeau {flambeau.__version__})",
        "TS Home": Path(flambeau.__file__).parent,
        "Current directory": Path.cwd(),
        "Temp directory": config.temp_dir or tempfile.gettempdir(),
        "Metrics config path": config.metrics_config or "in the package",
        "Number of GPUs": gpus if config.number_of_gpu is None else min(gpus, config.number_of_gpu),
        "Number of CPUs": os.cpu_count(),
        "Max heap size": _NOT_HERE,
        "Python executable": sys.executable,
        "Config file": loaded.file or _NOT_HERE,
        "Inference address": config.inference_address,
        "Management address": config.management_address,
        "Metrics address": config.metrics_address,
        "Model Store": config.model_store,
        "Initial Models": properties.get("load_models") or _NOT_HERE,
        "Log dir": config.log_dir,
        "Metrics dir": config.metrics_dir or config.log_dir,
        "Netty threads": _NOT_HERE,
        "Netty client threads": _NOT_HERE,
        "Default workers per model": config.default_workers_per_model,
        "Blacklist Regex": config.blacklist_env_vars or _NOT_HERE,
        "Maximum Response Size": config.limits.max_response_bytes,
        "Maximum Request Size": config.limits.max_request_bytes,
        "Limit Maximum Image Pixels": properties["limit_max_image_pixels"],
        "Prefer direct buffer": _NOT_HERE,
        "Allowed Urls": f"[{properties['allowed_urls']}]",
        "Custom python dependency for model allowed": _NOT_HERE,
        "Enable metrics API": properties["enable_metrics_api"],
        "Metrics mode": config.metrics_mode.name,
        "Disable system metrics": properties["disable_system_metrics"],
        "Workflow Store": config.workflow_store or config.model_store,
        "CPP log config": _NOT_HERE,
        "Model config": properties["models"] if config.model_defaults else _NOT_HERE,
        "System metrics command": _NOT_HERE,
        "Model API enabled": properties["enable_model_api"],
    }
    return "\n".join(f"{key}: {value}" for key, value in lines.items())
