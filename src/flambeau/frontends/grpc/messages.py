"""gRPC's messages in a stream of bytes: a flag, a length, the message. Pure."""

from __future__ import annotations

import zlib

from flambeau.errors import PayloadTooLarge
from flambeau.frontends.grpc.status import Status

PREFIX_BYTES = 5

_WINDOW_BITS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


class BadMessage(Exception):
    """The bytes are not gRPC messages, or cannot be read."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def framed(message: bytes) -> bytes:
    """One message, uncompressed."""
    return b"\x00" + len(message).to_bytes(4, "big") + message


class MessageReader:
    """Cuts the bytes of one direction of a call into messages."""

    def __init__(self, max_bytes: int, encoding: str) -> None:
        """
        Args:
            max_bytes: of one message, compressed or not.
            encoding: of those messages that say they are compressed.
        """
        self._max_bytes = max_bytes
        self._encoding = encoding
        self._buffer = bytearray()

    @property
    def buffered_bytes(self) -> int:
        """What has come of a message that is not complete."""
        return len(self._buffer)

    def receive(self, data: bytes) -> list[bytes]:
        """The messages that are complete now that these bytes have come.

        Raises:
            BadMessage, PayloadTooLarge: as soon as a message's prefix shows it.
        """
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        while len(buffer) >= PREFIX_BYTES:
            end = PREFIX_BYTES + self._announced(buffer)
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                message = bytes(view[PREFIX_BYTES:end])
            messages.append(self._decompressed(message) if buffer[0] else message)
            del buffer[:end]
        return messages

    def _announced(self, buffer: bytearray) -> int:
        """The length in a message's prefix."""
        if buffer[0] > 1:
            raise BadMessage(Status.INTERNAL, "The stream does not consist of gRPC messages.")
        length = int.from_bytes(buffer[1:PREFIX_BYTES], "big")
        if length > self._max_bytes:
            raise too_large(self._max_bytes)
        if buffer[0] and self._encoding not in _WINDOW_BITS:
            if self._encoding == "identity":
                raise BadMessage(Status.INTERNAL, "A message is compressed and grpc-encoding does not say how.")
            raise BadMessage(Status.UNIMPLEMENTED, f"Messages compressed with {self._encoding} cannot be read.")
        return length

    def _decompressed(self, message: bytes) -> bytes:
        inflater = zlib.decompressobj(_WINDOW_BITS[self._encoding])
        try:
            plain = inflater.decompress(message, self._max_bytes + 1)
        except zlib.error as error:
            raise BadMessage(Status.INTERNAL, f"A message is not {self._encoding}: {error}") from None
        if len(plain) > self._max_bytes:
            raise too_large(self._max_bytes)
        if not inflater.eof:
            raise BadMessage(Status.INTERNAL, f"A message is not {self._encoding}: it ends too early")
        return plain


def too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"Message of more than {limit} bytes (max_request_size).")
