"""Messages in a stream of bytes: any split gives the same, and none is larger than it may be."""

from __future__ import annotations

import gzip
import itertools
import zlib

import pytest
from grpc_frames import message
from hypothesis import given
from hypothesis import strategies as st

from flambeau.errors import PayloadTooLarge
from flambeau.frontends.grpc.messages import BadMessage, MessageReader, framed
from flambeau.frontends.grpc.status import Status

LIMIT = 1000


@given(st.lists(st.binary(max_size=50)), st.lists(st.integers(0, 400)))
def test_any_split_gives_the_same_messages(contents, cuts):
    reader = MessageReader(LIMIT, "identity")
    sent = b"".join(framed(content) for content in contents)
    edges = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    parts = [sent[start:end] for start, end in itertools.pairwise(edges)]
    assert [found for part in parts for found in reader.receive(part)] == contents
    assert reader.buffered_bytes == 0


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_messages_are_unpacked_and_others_left(encoding, compress):
    reader = MessageReader(LIMIT, encoding)
    sent = message(compress(b"small" * 100), compressed=True) + message(b"plain")
    assert reader.receive(sent) == [b"small" * 100, b"plain"]


def test_a_length_over_the_limit_is_refused_before_the_message_comes():
    reader = MessageReader(LIMIT, "identity")
    assert reader.receive(message(bytes(LIMIT))) == [bytes(LIMIT)]
    with pytest.raises(PayloadTooLarge, match=r"more than 1000 bytes \(max_request_size\)"):
        reader.receive(b"\0\x7f\xff\xff\xff")


def test_a_message_that_unpacks_to_more_than_the_limit_is_refused():
    bomb = message(gzip.compress(bytes(10**7)), compressed=True)
    assert len(bomb) < 20_000
    with pytest.raises(PayloadTooLarge):
        MessageReader(20_000, "gzip").receive(bomb)


@pytest.mark.parametrize(
    ("sent", "encoding", "status"),
    [
        (b"\x02\0\0\0\0", "identity", Status.INTERNAL),
        (message(b"x", compressed=True), "identity", Status.INTERNAL),
        (message(b"x", compressed=True), "snappy", Status.UNIMPLEMENTED),
        (message(b"not gzip", compressed=True), "gzip", Status.INTERNAL),
        (message(gzip.compress(b"cut short")[:-3], compressed=True), "gzip", Status.INTERNAL),
    ],
)
def test_what_cannot_be_read_says_why(sent, encoding, status):
    with pytest.raises(BadMessage) as caught:
        MessageReader(LIMIT, encoding).receive(sent)
    assert caught.value.status is status
    assert caught.value.text
