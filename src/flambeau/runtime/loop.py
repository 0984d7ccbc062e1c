"""The worker: one handler behind one connection, one batch at a time."""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
import traceback
from collections.abc import Sequence
from time import perf_counter

from flambeau.errors import FlambeauError, ProtocolError
from flambeau.request import InferenceRequest, RowError
from flambeau.runtime.connection import Connection
from flambeau.runtime.failures import is_out_of_memory
from flambeau.runtime.lifeline import Lifeline
from flambeau.runtime.loader import load_handler
from flambeau.runtime.placement import limit_library_threads, limit_torch_threads, pin_to_cores
from flambeau.runtime.service import LoadedHandler
from flambeau.wire.arena import Arena
from flambeau.wire.messages import Batch, BatchReply, Hello, Load, Loaded, Place

logger = logging.getLogger(__name__)

EXIT_SERVER_CLOSED = 0
EXIT_LOAD_FAILED = 3
EXIT_PROTOCOL_ERROR = 4

MAX_ERROR_CHARACTERS = 1000
"""Of the sentence in ``Loaded.error``; the whole traceback is in the model log."""


class WarmUpFailed(FlambeauError):
    """A warm-up row got no answer; the handler's own error stands above in the log."""


def serve(sock: socket.socket, arena: Arena | None = None) -> int:
    """Speak the wire protocol until the server closes its end.

    Args:
        arena: memory shared with the server, if any.

    Returns:
        The process's exit code, one of ``EXIT_…``. ``SystemExit`` of a handler comes through.
    """
    connection = Connection(sock, arena)
    lifeline = Lifeline(sock)
    try:
        connection.send(Hello(os.getpid(), shares_memory=arena is not None))
        lifeline.start()
        return _serve(connection, lifeline)
    except ProtocolError as error:
        logger.error("the server broke the wire protocol: %s", error)
        return EXIT_PROTOCOL_ERROR
    except (BrokenPipeError, ConnectionResetError):
        return EXIT_SERVER_CLOSED
    except SystemExit as request:
        lifeline.exit_code = request.code if isinstance(request.code, int) else int(request.code is not None)
        raise
    finally:
        lifeline.is_busy = False
        _shut(sock)


def _serve(connection: Connection, lifeline: Lifeline) -> int:
    load = connection.receive()
    if load is None:
        return EXIT_SERVER_CLOSED
    if not isinstance(load, Load):
        raise ProtocolError(f"{type(load).__name__} before Load")
    connection.gives_views = load.views
    handler = _load(load, connection)
    if handler is None:
        return EXIT_LOAD_FAILED
    gc.collect()
    gc.freeze()  # what the load made stays: no collection needs to look at it again
    while True:
        lifeline.is_busy = False
        message = connection.receive()
        lifeline.is_busy = True
        if type(message) is Batch:
            started_at = perf_counter()
            replies = handler.run(message.rows)
            seconds = perf_counter() - started_at
            connection.send(BatchReply(message.batch_id, replies, seconds, handler.take_metrics()))
        elif type(message) is Place:
            pin_to_cores(message.cores)
            limit_library_threads(message.threads)
            limit_torch_threads(message.threads)
        elif message is None:
            return EXIT_SERVER_CLOSED
        else:
            raise ProtocolError(f"{type(message).__name__} after Load")


def _load(load: Load, connection: Connection) -> LoadedHandler | None:
    """Load and report. None: it failed, which has been said."""
    started_at = perf_counter()
    try:
        pin_to_cores(load.cores)
        limit_library_threads(load.threads)
        os.chdir(load.model_dir)
        handler = load_handler(
            load.model_dir,
            model_name=load.model_name,
            handler=load.handler,
            batch_size=load.batch_size,
            gpu_id=load.gpu_id,
            envelope=load.envelope,
            limit_max_image_pixels=load.limit_max_image_pixels,
            decode_input_request=load.decode_input_request,
            isolate_failures=load.isolate_failures,
            max_response_bytes=load.max_response_bytes,
            metrics_config=load.metrics_config,
            threads=load.threads,
            inter_op_threads=load.inter_op_threads,
            views=load.views,
        )
        _warm_up(handler, load.warm_up)
    except Exception as error:  # the border to user code: whatever it raises is the outcome of the load
        traceback.print_exc()
        sys.stderr.flush()
        connection.send(Loaded(error=_sentence(error), out_of_memory=is_out_of_memory(error)))
        return None
    connection.send(Loaded(resident_bytes=_resident_bytes(), seconds=perf_counter() - started_at))
    return handler


def _warm_up(handler: LoadedHandler, rows: Sequence[InferenceRequest]) -> None:
    mark = handler.metrics.mark()
    for number, row in enumerate(rows, 1):
        (reply,) = handler.run([row])
        if reply.error == RowError.OUT_OF_MEMORY:
            raise MemoryError(f"warm-up row {number} of {len(rows)} ran out of memory")
        if reply.error:
            sentence = bytes(reply.body).decode(errors="replace") if not isinstance(reply.body, int) else ""
            raise WarmUpFailed(f"warm-up row {number} of {len(rows)} failed: {sentence}")
    handler.metrics.rewind(mark)


def _sentence(error: Exception) -> str:
    """The last line of a traceback; without the class for errors whose text is meant to be read."""
    text = str(error) if isinstance(error, FlambeauError) else traceback.format_exception_only(error)[-1]
    return " ".join(text.split())[:MAX_ERROR_CHARACTERS].encode(errors="replace").decode()


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        return 0


def _shut(sock: socket.socket) -> None:
    """Let the server see the end now: the interpreter may yet wait for threads of the handler's."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:  # it was the server that went first
        pass
