"""Header blocks of one HTTP/2 connection: HPACK, and a memory for blocks that say the same again.

A gRPC client sends the same header with every call, and after the first the block for it is a handful of bytes that
only point into the tables. Such a block changes no table, so it means the same until a block comes that may: then all
is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from hpack import Decoder, HPACKError, OversizedHeaderListError

from flambeau.frontends.grpc.frames import ConnectionProblem, ErrorCode

Headers = Sequence[tuple[bytes, bytes]]

_MAX_REMEMBERED = 256
"""Blocks; a client that calls more methods than this only loses the short cut."""

_FIRST_INDEXED = 0x80
_LONG_INDEX = 0xFF

HeadT = TypeVar("HeadT")


class MalformedHead(Exception):
    """The headers break a rule of HTTP/2; it is the stream's end, not the connection's."""


class HeaderBlocks(Generic[HeadT]):
    """Turns blocks into heads. Blocks must be given in the order in which they came: each may depend on all before."""

    def __init__(self, interpret: Callable[[Headers], HeadT], max_bytes: int) -> None:
        """
        Args:
            interpret: what the headers of a request mean; raises MalformedHead.
            max_bytes: of the decoded headers of one block, as SETTINGS_MAX_HEADER_LIST_SIZE counts them.
        """
        self._interpret = interpret
        self._decoder = Decoder(max_header_list_size=max_bytes)
        self._known: dict[bytes, HeadT] = {}

    def decode(self, block: bytes) -> HeadT:
        """What the header block of a request says.

        Raises:
            MalformedHead: see ``interpret``.
            ConnectionProblem: it is not HPACK, or too much; later blocks could not be understood.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        head = self._interpret(self._headers(block))
        if _only_points(block):
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            self._known[block] = head
        return head

    def skip(self, block: bytes) -> None:
        """Take in a block that nobody wants to know, such as trailers. Raises ConnectionProblem."""
        self._headers(block)

    def _headers(self, block: bytes) -> Headers:
        if not _only_points(block):
            self._known.clear()
        try:
            return list(self._decoder.decode(block, raw=True))
        except OversizedHeaderListError:
            raise ConnectionProblem(ErrorCode.ENHANCE_YOUR_CALM, "too many header bytes") from None
        except HPACKError as error:
            raise ConnectionProblem(ErrorCode.COMPRESSION_ERROR, str(error)) from None


def _only_points(block: bytes) -> bool:
    """Whether each byte is one whole field that stands in a table. A longer index would end in a byte below 0x80."""
    return len(block) > 0 and min(block) >= _FIRST_INDEXED and _LONG_INDEX not in block
