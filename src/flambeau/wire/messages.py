"""The messages between server and worker. ``docs/wire.md`` says the same for workers in other languages.

Server to worker: ``Load``, then any number of ``Batch`` and ``Place``. Worker to server: ``Hello`` at once, ``Loaded``
after ``Load``, one ``BatchReply`` per ``Batch``, in the order of the batches. The end of the stream is the end of the
worker: whichever side sees it stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import msgspec

from flambeau.request import InferenceReply, InferenceRequest, MetricUpdate

WIRE_VERSION = 1

MAX_BATCHES = 8
"""Batches that a worker may have been sent and not answered."""


class MessageType(IntEnum):
    HELLO = 1
    LOAD = 2
    LOADED = 3
    BATCH = 4
    BATCH_REPLY = 5
    PLACE = 6


class Hello(msgspec.Struct, array_like=True):
    """First word of a worker."""

    pid: int
    wire_version: int = WIRE_VERSION
    shares_memory: bool = False
    """Whether it has mapped the shared memory, so that either end may put segments there (see ``arena``)."""


class Load(msgspec.Struct, kw_only=True):
    """Everything that a worker must know to load its handler. A map on the wire, so that fields may be added."""

    model_name: str
    model_version: str
    model_dir: str
    """Absolute, symbolic links resolved; becomes the working directory."""
    handler: str
    batch_size: int
    gpu_id: int | None = None
    envelope: str | None = None
    limit_max_image_pixels: bool = True
    decode_input_request: bool = True
    isolate_failures: bool = True
    """Whether a batch whose handler raises is run again row by row."""
    max_response_bytes: int = 6_553_500
    metrics_config: str | None = None
    """Path of a metrics YAML; None for the packaged one."""
    threads: int | None = None
    """Intra-op threads; None leaves torch's default."""
    inter_op_threads: int = 1
    cores: Sequence[int] = ()
    views: bool = False
    """Whether values in shared memory are given to the handler as views of it, which are valid until the batch is
    answered, instead of copies."""
    warm_up: Sequence[InferenceRequest] = ()
    """Rows that are run, each alone, before the worker counts as ready; one that fails fails the load."""


class Loaded(msgspec.Struct, kw_only=True):
    """The outcome of ``Load``."""

    error: str = ""
    """Empty when the handler is ready, else the last line of the traceback."""
    out_of_memory: bool = False
    resident_bytes: int = 0
    seconds: float = 0.0


class Place(msgspec.Struct, kw_only=True):
    """Move to other cores, and use so many threads, without a reload."""

    cores: Sequence[int]
    threads: int | None


class Batch(msgspec.Struct, array_like=True, gc=False):
    batch_id: int
    rows: Sequence[InferenceRequest]


class BatchReply(msgspec.Struct, array_like=True, gc=False):
    batch_id: int
    rows: Sequence[InferenceReply]
    seconds: float
    """Time in the handler."""
    metrics: Sequence[MetricUpdate] = ()


Message = Hello | Load | Loaded | Batch | BatchReply | Place
