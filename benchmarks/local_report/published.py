"""The figures of torchpipe's performance report, measured by its authors on a machine of theirs.

Source: https://torchpipe.github.io/docs/benchmark (``docs/benchmark.mdx`` of github.com/torchpipe/torchpipe.github.io,
commit 1551e96). "Triton" is its Python or TensorRT backend behind its own client.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "https://torchpipe.github.io/docs/benchmark"


@dataclass(frozen=True)
class Published:
    """One figure: calls per second, or milliseconds in the sections about latency."""

    side: str
    """As the side is called here; a name of its own where it is not run here."""
    batch_size: int
    clients: int
    figure: float


def _row(side: str, batch_size: int, figures: dict[int, float]) -> tuple[Published, ...]:
    return tuple(Published(side, batch_size, clients, figure) for clients, figure in figures.items())


HELLO_LOCAL = (
    *_row("torchpipe, Python backend", 1, {1: 65_227, 10: 46_655}),
    *_row("torchpipe, C++ backend", 1, {1: 70_671, 10: 55_949}),
)
HELLO_RPC = (
    *_row("torchpipe + thrift", 1, {1: 10_020, 10: 13_221}),
    *_row("torchpipe, C++ backend + thrift", 1, {1: 10_444, 10: 14_977}),
    *_row("thrift", 1, {1: 14_890, 10: 17_262}),
    *_row("Triton", 1, {1: 7_342, 10: 15_039}),
)
BATCH_WAIT = (
    *_row("torchpipe", 4, {1: 0.25, 2: 10.25, 4: 0.34, 10: 0.82}),
    *_row("Triton", 4, {1: 10.5, 2: 10.57, 4: 0.5, 10: 0.97}),
)
NO_BATCH = (
    *_row("torchpipe", 1, {1: 0.09, 10: 0.64}),
    *_row("Triton", 1, {1: 0.23, 10: 1.26}),
)
GIL = (
    *_row("torchpipe, threads", 1, {10: 233}),
    *_row("torchpipe, processes", 1, {10: 872}),
    *_row("Triton", 1, {10: 814}),
)
JPEG = (
    *_row("torchpipe + thrift, C++ backend", 1, {1: 426, 10: 1_599}),
    *_row("torchpipe + thrift, Python backend", 1, {1: 406, 10: 1_334}),
    *_row("Triton", 1, {1: 339, 10: 1_440}),
)
RESNET50 = (
    *_row("torchpipe + thrift, TensorRT", 1, {1: 381, 10: 720}),
    *_row("Triton, TensorRT", 1, {1: 358, 10: 722}),
    *_row("torchpipe + thrift, TensorRT", 4, {10: 907}),
    *_row("Triton, TensorRT", 4, {10: 898}),
)
RESNET18 = (
    *_row("torchpipe, TensorRT", 1, {1: 559, 10: 1_303}),
    *_row("Triton, TensorRT", 1, {1: 462, 10: 907}),
)
