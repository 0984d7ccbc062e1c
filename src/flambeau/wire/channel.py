"""The server's end of a worker's socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from flambeau.errors import ProtocolError
from flambeau.wire import codec
from flambeau.wire.arena import Arena
from flambeau.wire.frames import FrameReader
from flambeau.wire.messages import Batch, BatchReply, Message

logger = logging.getLogger(__name__)


class WorkerChannel(asyncio.BufferedProtocol):
    """Messages over one connected Unix socket, delivered by call-back: the hot path has no task of its own."""

    def __init__(
        self,
        on_message: Callable[[Message], None],
        on_lost: Callable[[], None],
        max_frame_bytes: int,
    ) -> None:
        """
        Args:
            on_message: takes each message, in order.
            on_lost: the other end is gone; called once, nothing comes after it.
        """
        self._on_message = on_message
        self._on_lost = on_lost
        self._reader = FrameReader(max_frame_bytes)
        self._transport: asyncio.Transport | None = None

    def send(self, message: Message) -> None:
        """Queue a message to be written. After the other end is gone it is dropped: ``on_lost`` tells of that."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        arena = self._reader.arena
        if arena is not None and type(message) is Batch:
            place, reply_place = arena.places()
            buffers = codec.encode(message, arena, place=place, reply_place=reply_place)
        else:
            buffers = codec.encode(message)
        if len(buffers) == 1:
            transport.write(buffers[0])
        else:
            transport.writelines(buffers)

    def share(self, arena: Arena) -> None:
        """Exchange large values through this memory from now on, until ``on_lost``: then it may be closed."""
        self._reader.arena = arena

    def allow_frames(self, max_frame_bytes: int) -> None:
        """Take frames of this size from now on, too. The limit never sinks: an answer may be on its way."""
        self._reader.max_frame_bytes = max(self._reader.max_frame_bytes, max_frame_bytes)

    def close(self) -> None:
        """Close this end; the worker sees the end of its stream and stops."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        try:
            messages = self._reader.advance(nbytes)
        except ProtocolError as error:
            logger.error("a worker does not speak the wire protocol: %s", error)
            if self._transport is not None:
                self._transport.abort()
            return
        arena = self._reader.arena
        for message in messages:
            if arena is not None and type(message) is BatchReply:
                arena.answered()
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._reader.arena = None
        self._on_lost()
