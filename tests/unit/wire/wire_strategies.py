"""Messages of every type, as hypothesis draws them; values on both sides of the size from which they are segments."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from flambeau.request import InferenceReply, InferenceRequest, MetricUpdate
from flambeau.wire.codec import SEGMENT_MIN_BYTES
from flambeau.wire.frames import FrameReader
from flambeau.wire.messages import Batch, BatchReply, Hello, Load, Loaded, Message, Place

MAX_FRAME_BYTES = 8 * 1024 * 1024

small_values = st.binary(max_size=64)
large_values = st.builds(
    lambda seed, size: (seed * (size // len(seed) + 1))[:size],
    st.binary(min_size=1, max_size=7),
    st.integers(SEGMENT_MIN_BYTES - 1, 3 * SEGMENT_MIN_BYTES) | st.integers(250_000, 300_000),
)
values = small_values | large_values
text = st.text(max_size=12)
u32 = st.integers(0, 2**32 - 1)

requests = st.builds(
    InferenceRequest,
    request_id=text,
    headers=st.lists(st.tuples(small_values, small_values), max_size=2),
    parameters=st.lists(st.tuples(text, text, values), max_size=3),
)
replies = st.builds(
    InferenceReply,
    body=values,
    status=st.integers(100, 599),
    phrase=text,
    headers=st.lists(st.tuples(text, text), max_size=2),
    error=st.integers(0, 3),
)
metrics = st.builds(
    MetricUpdate,
    name=text,
    unit=text,
    kind=st.sampled_from(["counter", "gauge", "histogram"]),
    value=st.floats(allow_nan=False),
    dimensions=st.lists(st.tuples(text, text), max_size=2),
    request_ids=text,
)
batches = st.builds(Batch, batch_id=u32, rows=st.lists(requests, max_size=3))
batch_replies = st.builds(
    BatchReply,
    batch_id=u32,
    rows=st.lists(replies, max_size=3),
    seconds=st.floats(0, 1e6),
    metrics=st.lists(metrics, max_size=2),
)
messages = st.one_of(
    st.builds(Hello, pid=u32),
    st.builds(
        Load,
        model_name=text,
        model_version=text,
        model_dir=text,
        handler=text,
        batch_size=st.integers(1, 1000),
        gpu_id=st.none() | st.integers(0, 7),
        threads=st.none() | st.integers(1, 64),
        cores=st.lists(st.integers(0, 255), max_size=4),
    ),
    st.builds(Loaded, error=text, out_of_memory=st.booleans(), resident_bytes=u32, seconds=st.floats(0, 1e3)),
    st.builds(Place, cores=st.lists(st.integers(0, 255), max_size=4), threads=st.none() | st.integers(1, 64)),
    batches,
    batch_replies,
)


def plain(message: Message) -> object:
    """A message as built-in values, whatever kind of buffer or sequence its values are in."""
    return type(message).__name__, msgspec.msgpack.decode(msgspec.msgpack.encode(message))


def feed(reader: FrameReader, data: bytes, sizes: list[int] | None = None) -> list[Message]:
    """Give a reader all of ``data``, in portions of at most these sizes in turn, as a socket would."""
    received: list[Message] = []
    position = turn = 0
    while position < len(data):
        buffer = reader.buffer()
        wanted = sizes[turn % len(sizes)] if sizes else len(buffer)
        portion = data[position : position + min(wanted, len(buffer))]
        buffer[: len(portion)] = portion
        received.extend(reader.advance(len(portion)))
        position += len(portion)
        turn += 1
    return received
