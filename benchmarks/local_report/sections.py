"""The report's sections: what each compares, at how many clients, and the bounds that Flambeau is to keep in it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.contestants import ECHO
from benchmarks.local_report import published, sides
from benchmarks.local_report.published import Published
from benchmarks.local_report.sides import Start
from benchmarks.local_report.work import cores
from benchmarks.results import Cell, Metric, Target, p50_ms, requests_per_s

FLAMBEAU = "flambeau"


@dataclass(frozen=True)
class Section:
    """One table of the report."""

    name: str
    title: str
    clients: tuple[int, ...]
    sides: dict[str, Start]
    row: Callable[[], bytes]
    targets: tuple[Target, ...]
    published: tuple[Published, ...]
    batch_sizes: tuple[int, ...] = (1,)
    metric: Metric = requests_per_s
    """What its targets, its published figures and its plot are about."""
    network: str | None = None
    """torchvision's name of the network that the section's archive holds; None: it needs none."""
    longer: float = 1
    """Its windows are so many times as long: slow calls are few."""


def ratio(side: str, base: str, *, clients: int, at_least: float, batch_size: int = 1) -> Target:
    """One side's calls per second as a multiple of another's in the same round."""
    cells = Cell(side, batch_size, clients), Cell(base, batch_size, clients)
    where = f"batch {batch_size}, {_clients(clients)}" if batch_size > 1 else _clients(clients)
    return Target(f"{side} ÷ {base}, {where}", lambda results: results.ratio(*cells, requests_per_s), at_least=at_least)


def median_latency(*, clients: int, batch_size: int, at_most_ms: float) -> Target:
    cell = Cell(FLAMBEAU, batch_size, clients)
    return Target(f"median ms, {_clients(clients)}", lambda results: results.spread(cell, p50_ms), at_most=at_most_ms)


def _clients(count: int) -> str:
    return f"{count} client{'s' if count > 1 else ''}"


def hello_row() -> bytes:
    return b"HelloWorld"


def photo() -> bytes:
    """scikit-image's photograph of a cat as a JPEG of 640 x 444."""
    import skimage.data
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(skimage.data.chelsea()).resize((640, 444)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def image_bytes() -> bytes:
    """224 x 224 x 3 bytes of the same photograph."""
    import skimage.data
    from PIL import Image

    return Image.fromarray(skimage.data.chelsea()).resize((224, 224)).tobytes()


def _hello_local() -> Section:
    peers = {
        "torchpipe, Python backend": sides.torchpipe("hello"),
        "torchpipe, C++ backend": sides.torchpipe("hello", backend="Identity"),
    }
    return Section(
        name="hello-local",
        title="Hello world, a local call",
        clients=(1, 10),
        sides={
            FLAMBEAU: sides.flambeau_local("hello"),
            **peers,
            "torchpipe, C++ backend, omniback.Dict": sides.torchpipe(
                "hello", backend="Identity", caller="omniback.Dict"
            ),
            "torchpipe, C++ backend and client": sides.torchpipe("hello", backend="Identity", caller="c++"),
        },
        row=hello_row,
        targets=tuple(ratio(FLAMBEAU, peer, clients=clients, at_least=20) for clients in (1, 10) for peer in peers),
        published=published.HELLO_LOCAL,
    )


def _hello_rpc() -> Section:
    clients = (1, 10)
    most = max(clients)
    return Section(
        name="hello-rpc",
        title="Hello world behind RPC, each client a process",
        clients=clients,
        sides={
            "flambeau, HTTP": sides.flambeau_http(ECHO, clients=most),
            "flambeau, gRPC": sides.flambeau_grpc(ECHO, clients=most),
            "torchpipe + thrift": sides.thrift("torchpipe", clients=most),
            "thrift": sides.thrift("alone", clients=most),
        },
        row=hello_row,
        targets=tuple(
            ratio("flambeau, HTTP", peer, clients=count, at_least=1)
            for count in clients
            for peer in ("torchpipe + thrift", "thrift")
        ),
        published=published.HELLO_RPC,
    )


def _batch_wait() -> Section:
    clients = (1, 2, 4, 10)
    return Section(
        name="batch-wait",
        title="Waiting for a batch: delay 10 ms, batches of at most 4",
        clients=clients,
        sides={
            FLAMBEAU: sides.flambeau_local("hello", delay_ms=10),
            "torchpipe": sides.torchpipe("hello", delay_ms=10),
        },
        row=hello_row,
        targets=tuple(median_latency(clients=count, batch_size=4, at_most_ms=0.3) for count in clients),
        published=published.BATCH_WAIT,
        batch_sizes=(4,),
        metric=p50_ms,
    )


def _no_batch() -> Section:
    return Section(
        name="no-batch",
        title="Nothing to wait for: delay 10 ms, batches of at most 1",
        clients=(1, 10),
        sides={
            FLAMBEAU: sides.flambeau_local("hello", delay_ms=10),
            "torchpipe": sides.torchpipe("hello", delay_ms=10),
        },
        row=hello_row,
        targets=(
            median_latency(clients=1, batch_size=1, at_most_ms=0.05),
            median_latency(clients=10, batch_size=1, at_most_ms=0.3),
        ),
        published=published.NO_BATCH,
        metric=p50_ms,
    )


def _gil() -> Section:
    return Section(
        name="gil",
        title="A backend that holds the GIL: the sum of 1 to 100 000 by a loop",
        clients=(10,),
        sides={
            "bare loop": sides.bare("count", processes=1),
            "bare loops, one a core": sides.bare("count"),
            "flambeau, processes": sides.flambeau_local("count", processes=cores()),
            "flambeau, threads": sides.flambeau_local("count", workers=10),
            "torchpipe, threads": sides.torchpipe("count", instances=10),
            "torchpipe, processes": sides.torchpipe("count", instances=cores(), backend="processes"),
        },
        row=hello_row,
        targets=(ratio("flambeau, processes", "bare loop", clients=10, at_least=0.95 * cores()),),
        published=published.GIL,
    )


def _jpeg() -> Section:
    bare = "bare loops, one a core used"
    return Section(
        name="jpeg",
        title="JPEG decode, 640 x 444, by torchvision",
        clients=(1, 10),
        sides={
            bare: sides.bare("decode"),
            FLAMBEAU: sides.flambeau_local("decode", workers=cores()),
            "torchpipe, Python backend": sides.torchpipe("decode", instances=cores()),
            "torchpipe, C++ backend (OpenCV)": sides.torchpipe("decode", instances=cores(), backend="DecodeMat"),
        },
        row=photo,
        targets=tuple(ratio(FLAMBEAU, bare, clients=clients, at_least=0.95) for clients in (1, 10)),
        published=published.JPEG,
    )


def _resnet(network: str, title: str, figures: tuple[Published, ...]) -> Section:
    cases = [(batch_size, clients) for batch_size in (1, 4) for clients in (1, 10)]
    local, served, bare = "flambeau, local", "flambeau, served over HTTP", "bare loop"
    bounds = ((local, bare, 0.98), (local, served, 1), (served, local, 0.95))
    return Section(
        name=network,
        title=f"{title}, random weights, 224 x 224, all cores for one worker",
        clients=(1, 10),
        sides={
            bare: sides.bare(network, processes=1),
            local: sides.flambeau_local(),
            served: sides.flambeau_http(network, clients=10),
            "torchpipe, torch in a Python backend": sides.torchpipe(network),
        },
        row=image_bytes,
        targets=tuple(
            ratio(side, base, clients=clients, batch_size=batch_size, at_least=at_least)
            for batch_size, clients in cases
            for side, base, at_least in bounds
        ),
        published=figures,
        batch_sizes=(1, 4),
        network=network,
        longer=2,
    )


SECTIONS = {
    section.name: section
    for section in (
        _hello_local(),
        _hello_rpc(),
        _batch_wait(),
        _no_batch(),
        _gil(),
        _jpeg(),
        _resnet("resnet50", "ResNet-50", published.RESNET50),
        _resnet("resnet18", "ResNet-18", published.RESNET18),
    )
}
