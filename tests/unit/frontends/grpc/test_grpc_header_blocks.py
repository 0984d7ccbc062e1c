"""Header blocks: that the short cut for blocks seen before says what decoding them says."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.frontends.grpc.frames import ConnectionProblem, ErrorCode
from flambeau.frontends.grpc.header_blocks import HeaderBlocks

NAMES = st.sampled_from([b":path", b":method", b"te", b"grpc-timeout", b"x"])
HEADERS = st.lists(st.tuples(NAMES, st.sampled_from([b"POST", b"/a", b"1S", b"2S", b""])), max_size=6)


@settings(deadline=None)
@given(st.lists(st.tuples(HEADERS, st.booleans(), st.sampled_from([None, 64, 4096]))))
def test_blocks_mean_the_same_with_and_without_memory(sent):
    encoder, reference, blocks = Encoder(), Decoder(), HeaderBlocks(list, 4096)
    for headers, huffman, table_size in sent:
        if table_size is not None:
            encoder.header_table_size = table_size
        block = encoder.encode(headers, huffman=huffman)
        assert blocks.decode(block) == list(reference.decode(block, raw=True)) == headers


def test_a_block_that_only_points_into_the_tables_is_interpreted_once():
    interpreted = []
    blocks = HeaderBlocks(lambda headers: interpreted.append(headers) or len(interpreted), 4096)
    encoder = Encoder()
    first = encoder.encode([(b"te", b"trailers")])
    again = encoder.encode([(b"te", b"trailers")])
    assert [blocks.decode(first), blocks.decode(again), blocks.decode(again)] == [1, 2, 2]
    blocks.skip(encoder.encode([(b"new", b"field")]))
    moved = encoder.encode([(b"te", b"trailers")])
    assert [blocks.decode(moved), blocks.decode(again)] == [3, 4]
    assert interpreted[3] == [(b"new", b"field")]


def test_many_different_blocks_do_not_fill_the_memory():
    encoder, blocks = Encoder(), HeaderBlocks(list, 4096)
    fields = [(b"n", b"%d" % number) for number in range(30)]
    for field in fields:
        blocks.decode(encoder.encode([field]))
    for first in fields:
        for second in fields:
            block = encoder.encode([first, second])
            assert blocks.decode(block) == [first, second]
    assert len(blocks._known) <= 256


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (b"\xff\xff\xff\xff\xff", ErrorCode.COMPRESSION_ERROR),
        (b"\xfe", ErrorCode.COMPRESSION_ERROR),
        (b"\x40\x7f", ErrorCode.COMPRESSION_ERROR),
        (Encoder().encode([(b"x", bytes(5000))]), ErrorCode.ENHANCE_YOUR_CALM),
    ],
)
def test_what_is_not_hpack_or_too_much_ends_the_connection(block, code):
    with pytest.raises(ConnectionProblem) as caught:
        HeaderBlocks(list, 4096).decode(block)
    assert caught.value.code is code


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40)))
def test_garbage_raises_only_connection_problems(garbage):
    blocks = HeaderBlocks(list, 4096)
    for block in garbage:
        try:
            blocks.decode(block)
        except ConnectionProblem:
            return
