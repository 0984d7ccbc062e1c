"""A folder with a model in it to a handler that is ready."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from flambeau.errors import InvalidModel
from flambeau.runtime.context import TORCHSERVE_VERSION, Context
from flambeau.runtime.entry_point import (
    PIP_NAMES,
    FoundHandler,
    HandlerName,
    describes_pipeline,
    entry_of_description,
    find_entry_point,
    import_handler,
    in_envelope,
    package_is_missing,
)
from flambeau.runtime.imports import own_imports
from flambeau.runtime.metrics import MetricsCache
from flambeau.runtime.placement import limit_torch_threads
from flambeau.runtime.service import LoadedHandler

MANIFEST_PATH = Path("MAR-INF") / "MANIFEST.json"


def load_handler(
    model_dir: str | Path,
    *,
    model_name: str | None = None,
    handler: str | None = None,
    batch_size: int = 1,
    gpu_id: int | None = None,
    envelope: str | None = None,
    limit_max_image_pixels: bool = True,
    decode_input_request: bool = True,
    isolate_failures: bool = True,
    max_response_bytes: int = 6_553_500,
    metrics_config: str | Path | None = None,
    threads: int | None = None,
    inter_op_threads: int | None = None,
    views: bool = False,
    prepare: Callable[[FoundHandler], FoundHandler] | None = None,
) -> LoadedHandler:
    """Import a model's handler and initialise it. The working directory stays what it is.

    Args:
        model_dir: an unpacked archive, or any folder that holds the handler; goes to the front of ``sys.path``.
        model_name: as registered; None for the manifest's, else the folder's.
        handler: ``file``, ``file.py:function``, a built-in name or a pipeline's description; None for the manifest's.
        batch_size: the largest batch that will come, for the handler's information.
        gpu_id: the device; None for the CPU.
        envelope: a service envelope that every batch passes through, such as ``kserve``.
        max_response_bytes: a row whose answer is longer fails.
        metrics_config: a metrics YAML; None for the packaged metrics.
        threads: torch's intra-op threads; None leaves them.
        inter_op_threads: torch's inter-op threads; None leaves them.
        views: whether the handler takes values as they came, views of shared memory among them.
        prepare: given the entry point before it is initialised; what it returns takes its place.

    Raises:
        InvalidModel: the folder, its manifest, its YAML or its handler cannot be used; says why.
        GeneralMetricsCacheError: the metrics YAML cannot be used.
        Exception: whatever the model's own code raised.
    """
    folder = Path(model_dir).resolve()
    manifest = read_manifest(folder)
    described = (manifest or {}).get("model") or {}
    handler = handler or described.get("handler")
    if not handler:
        raise InvalidModel("no handler: name one, or have the manifest name it")
    name = HandlerName.parse(handler)
    model_name = model_name or described.get("modelName") or folder.name
    metrics = MetricsCache(model_name, metrics_config)
    context = Context(
        model_name,
        str(folder),
        manifest,
        batch_size,
        gpu_id,
        TORCHSERVE_VERSION,
        limit_max_image_pixels,
        metrics,
        read_settings(folder, described.get("configFile")),
    )
    search = [folder]
    if name.folder:
        search.append(folder / name.folder)
    own_modules = {name.module.partition(".")[0], Path(described.get("modelFile") or name.module).stem}
    with own_imports(search, own_modules):
        if describes_pipeline(handler):
            found = _naming_packages(lambda: entry_of_description(folder / handler))
        else:
            found = _naming_packages(lambda: find_entry_point(import_handler(name, search), name.function))
        if envelope:
            found = _naming_packages(partial(in_envelope, found, envelope))
        if prepare is not None:
            found = prepare(found)
        limit_torch_threads(threads, inter_op_threads)
        _naming_packages(lambda: found.initialize(context))
        limit_torch_threads(
            threads, inter_op_threads
        )  # once more, for a handler that imports torch no sooner than here
    return LoadedHandler(
        found.entry,
        context,
        metrics,
        decode_input_request=decode_input_request,
        isolate_failures=isolate_failures,
        max_response_bytes=max_response_bytes,
        views=views,
    )


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of an unpacked archive; None if it has none.

    Raises:
        InvalidModel: it is not a JSON object.
    """
    try:
        manifest = json.loads((folder / MANIFEST_PATH).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InvalidModel(f"{MANIFEST_PATH} is not JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise InvalidModel(f"{MANIFEST_PATH} is not a JSON object")
    return manifest


def get_yaml_config(path: str | Path) -> dict[str, Any]:
    """A YAML file's mapping; empty for an empty file.

    Raises:
        InvalidModel: it is not YAML, or not a mapping.
        OSError: it cannot be read.
    """
    import yaml  # most models have no YAML file: start faster without it

    try:
        document = yaml.safe_load(Path(path).read_bytes())
    except yaml.YAMLError as error:
        raise InvalidModel(f"{Path(path).name} is not YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidModel(f"{Path(path).name} is not a mapping")
    return document


def read_settings(folder: Path, config_file: str | None) -> dict[str, Any]:
    """The YAML that a manifest names; empty if it names none.

    Raises:
        InvalidModel: it is not in the folder, or cannot be used.
    """
    if not config_file:
        return {}
    try:
        return get_yaml_config(folder / config_file)
    except FileNotFoundError:
        raise InvalidModel(f"configFile {config_file} is not in the archive") from None


def _naming_packages(step: Callable[[], Any]) -> Any:
    """Run a step of the load; where it is torch or the like that cannot be imported, say what to do."""
    try:
        return step()
    except ModuleNotFoundError as error:
        if error.name not in PIP_NAMES:
            raise
        raise InvalidModel(package_is_missing(error.name)) from error
