"""Handlers loaded the way TorchServe's worker does, for programs that call it."""

from __future__ import annotations

import os
from pathlib import Path

from flambeau.errors import InvalidModel
from flambeau.runtime.entry_point import HandlerName, find_entry_point, import_handler, in_envelope
from flambeau.runtime.loader import read_manifest
from flambeau.runtime.metrics import MetricsCache
from flambeau.runtime.offline.service import Service


class ModelLoader:
    """Base of loaders."""

    def load(
        self,
        model_name: str,
        model_dir: str,
        handler: str | None = None,
        gpu_id: int | None = None,
        batch_size: int | None = None,
        envelope: str | None = None,
        limit_max_image_pixels: bool | None = True,
    ) -> Service:
        """Import a handler and initialise it."""
        raise NotImplementedError


class TsModelLoader(ModelLoader):
    """Loads what an archive holds."""

    def load(
        self,
        model_name: str,
        model_dir: str,
        handler: str | None = None,
        gpu_id: int | None = None,
        batch_size: int | None = None,
        envelope: str | None = None,
        limit_max_image_pixels: bool | None = True,
        metrics_cache: MetricsCache | None = None,
    ) -> Service:
        """Import a handler, from ``sys.path`` or among the built-in ones, and initialise it.

        Args:
            model_dir: an unpacked archive.
            handler: None for the manifest's.
            metrics_cache: None for one that logs what is recorded.

        Raises:
            InvalidModel: the archive or its handler cannot be used; says why.
            Exception: whatever the model's own code raised.
        """
        folder = Path(model_dir)
        manifest = read_manifest(folder)
        wanted = handler or ((manifest or {}).get("model") or {}).get("handler")
        if not wanted:
            raise InvalidModel("no handler: name one, or have the manifest name it")
        name = HandlerName.parse(wanted)
        found = find_entry_point(import_handler(name, [folder]), name.function)
        if envelope is not None:
            found = in_envelope(found, envelope)
        service = Service(
            model_name,
            os.fspath(model_dir),
            manifest,
            found.entry,
            gpu_id,
            batch_size,
            bool(limit_max_image_pixels),
            metrics_cache,
        )
        found.initialize(service.context)
        return service


class ModelLoaderFactory:
    """Gives the loader that there is."""

    @staticmethod
    def get_model_loader() -> TsModelLoader:
        return TsModelLoader()
