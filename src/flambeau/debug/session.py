"""A model opened, loaded and asked in this process, as a worker would do it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flambeau.archive.reader import open_archive
from flambeau.config.model_sources import model_config
from flambeau.config.server import ServerConfig
from flambeau.debug.trace import Trace, watch_handler, watch_pipeline
from flambeau.errors import InvalidModel
from flambeau.local.pipeline import Pipeline
from flambeau.local.serving import entry_of_object
from flambeau.request import EXPLAIN, PREDICT, InferenceReply, InferenceRequest, MetricUpdate, Purpose
from flambeau.runtime import load_handler
from flambeau.runtime.entry_point import FoundHandler, HandlerName, describes_pipeline
from flambeau.runtime.service import LoadedHandler


class OpenModel:
    """A model's files, and its handler once it is loaded."""

    def __init__(self, name: str, version: str, folder: Path, handler: str, trace: Trace, *, batch_size: int) -> None:
        self.name = name
        self.version = version
        self.folder = folder
        """Absolute; the working directory, as it is a worker's."""
        self.handler = handler
        self.batch_size = batch_size
        self._trace = trace
        self._loaded: LoadedHandler | None = None
        self._requests = 0

    def load(self, *, gpu_id: int | None = None, envelope: str | None = None) -> None:
        """Import and initialise the handler; its load is a stage of the trace.

        Raises:
            InvalidModel: the model cannot be used; says why.
            Exception: whatever its code raised.
        """
        try:
            self._loaded = load_handler(
                self.folder,
                model_name=self.name,
                handler=self.handler,
                batch_size=self.batch_size,
                gpu_id=gpu_id,
                envelope=envelope,
                isolate_failures=False,
                prepare=self._prepare,
            )
        except Exception as error:
            self._trace.note_error(error)
            raise

    def ask(self, bodies: Sequence[tuple[str, bytes]], *, explain: bool = False) -> list[InferenceReply]:
        """One batch.

        Args:
            bodies: content type and body of each row.

        Returns:
            One reply a row, as a worker sends them. What the handler raised is in the trace.
        """
        if self._loaded is None:
            raise RuntimeError("load it first")
        injected = EXPLAIN if explain else PREDICT
        purpose = Purpose.EXPLAIN if explain else Purpose.PREDICT
        rows = []
        for content_type, body in bodies:
            self._requests += 1
            media_type = content_type.partition(";")[0].strip()
            headers = [(b"content-type", content_type.encode()), injected]
            rows.append(
                InferenceRequest(f"debug-{self._requests}", headers, [("body", media_type, bytearray(body))], purpose)
            )
        return self._loaded.run(rows)

    def take_metrics(self) -> list[MetricUpdate]:
        """What the handler has recorded since the last call."""
        return [] if self._loaded is None else self._loaded.take_metrics()

    def _prepare(self, found: FoundHandler) -> FoundHandler:
        if describes_pipeline(self.handler):
            found = self._of_description()
        else:
            name = HandlerName.parse(self.handler)
            served = getattr(sys.modules.get(name.module), name.function or "", None)
            if isinstance(served, Pipeline):
                watch_pipeline(served, self._trace)
        return watch_handler(found, self._trace)

    def _of_description(self) -> FoundHandler:
        """The pipeline that a file describes, its stages watched, as a handler."""
        loaded: list[FoundHandler] = []

        def initialize(context: object) -> None:
            pipeline = Pipeline.from_file(self.folder / self.handler)
            watch_pipeline(pipeline, self._trace)
            loaded.append(entry_of_object(pipeline))
            loaded[0].initialize(context)

        return FoundHandler(lambda rows, context: loaded[0].entry(rows, context), initialize)


@contextmanager
def opened(source: Path, trace: Trace, *, handler: str | None = None) -> Iterator[OpenModel]:
    """Unpack a model if need be, and make its folder the working directory while the block lasts.

    Args:
        source: archive, folder, ``file.py:object`` or a pipeline's description.
        handler: instead of the manifest's.

    Raises:
        ModelNotFound: there is nothing at ``source``.
        InvalidModel: it cannot be used.
    """
    left = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="flambeau-debug-") as temp_dir:
        unpacked = open_archive(source, Path(temp_dir))
        manifest = unpacked.manifest
        chosen = handler or manifest.handler
        if not chosen:
            raise InvalidModel(f"{source.name} names no handler; say which with --handler")
        settings = model_config(
            server=ServerConfig(),
            name=manifest.model_name,
            version=manifest.model_version,
            default_workers=1,
            at_startup=True,
            yaml_text=unpacked.config_text(),
            yaml_name=manifest.config_file or "",
        ).config
        os.chdir(unpacked.directory)
        try:
            yield OpenModel(
                manifest.model_name,
                manifest.model_version,
                unpacked.directory,
                chosen,
                trace,
                batch_size=settings.batching.batch_size,
            )
        finally:
            os.chdir(left)
