"""One model opened, loaded and asked, for an audience that is told of everything as it happens."""

from __future__ import annotations

import logging
import sys
from bdb import BdbQuit
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flambeau.debug.session import OpenModel, opened
from flambeau.debug.trace import StageCall, Trace
from flambeau.local.runners import gpu_id_of
from flambeau.request import InferenceReply, MetricUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugPlan:
    """What to do."""

    source: Path
    """Archive, folder, ``file.py:object`` or a pipeline's description."""
    rows: Sequence[tuple[str, bytes]] = ()
    """Content type and body of each row of the batch; none: the model is only loaded."""
    repeats: int = 1
    explain: bool = False
    handler: str | None = None
    device: str | None = None
    envelope: str | None = None


class Audience(Protocol):
    """Who is told."""

    def opened(self, model: OpenModel) -> None:
        """The files are there; the handler is not loaded yet."""
        ...

    def stage(self, call: StageCall) -> None:
        """A stage is over, of the load or of any batch."""
        ...

    def replied(self, replies: Sequence[InferenceReply], metrics: Sequence[MetricUpdate]) -> None:
        """A batch is over."""
        ...

    def failed(self, error: BaseException, folder: Path) -> None:
        """Something was raised, and nothing more will happen. ``folder`` is the model's."""
        ...


def run(plan: DebugPlan, audience: Audience) -> None:
    """
    Raises:
        ModelNotFound, InvalidModel, ConfigError: the model cannot be opened, or its device is none. What its own code
            raises goes to the audience.
        KeyboardInterrupt: Ctrl-C, or the debugger was left with ``q``.
    """
    _show_what_is_logged()
    gpu_id = gpu_id_of(plan.device)
    trace = Trace(audience.stage)
    with opened(plan.source, trace, handler=plan.handler) as model:
        audience.opened(model)
        try:
            model.load(gpu_id=gpu_id, envelope=plan.envelope)
        except Exception as error:  # the border to the model's code, which may raise anything
            trace.note_error(error)
        for _ in range(plan.repeats if plan.rows else 0):
            if trace.error is not None:
                break
            replies = model.ask(plan.rows, explain=plan.explain)
            if not isinstance(trace.error, BdbQuit):
                audience.replied(replies, model.take_metrics())
        if isinstance(trace.error, BdbQuit):
            raise KeyboardInterrupt
        if trace.error is not None:
            audience.failed(trace.error, model.folder)


def _show_what_is_logged() -> None:
    """On the error stream, as a worker would; without the tracebacks that the audience is given."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(lambda record: record.exc_info is None or not record.name.startswith("flambeau."))
    logging.basicConfig(handlers=[handler], level=logging.INFO, format="%(message)s")
