"""What a model does in each section: functions of a list of rows, the same for all sides.

torch is imported by those that need it only: the peers' environments borrow it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

Work = Callable[[list[Any]], list[Any]]


def hello(rows: list[Any]) -> list[Any]:
    """The rows themselves."""
    return rows


def count(rows: list[Any]) -> list[Any]:
    """The sum of 1 to 100 000 by a loop of byte code, which holds the GIL."""
    return [_sum_up_to(100_000) for _ in rows]


def _sum_up_to(last: int) -> int:
    total = 0
    for number in range(1, last + 1):
        total += number
    return total


def decode(rows: list[Any]) -> list[Any]:
    """JPEG bytes to uint8 ``[3, H, W]``; releases the GIL."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    return [decode_jpeg(torch.frombuffer(row, dtype=torch.uint8), mode=ImageReadMode.RGB) for row in rows]


def resnet(network: str) -> Work:
    """A ResNet of torchvision: 224 x 224 x 3 bytes to 1000 float32 in bytes."""
    from benchmarks.local_report.resnet.handler import ResNet

    handler = ResNet()
    handler.initialize(SimpleNamespace(model_yaml_config={"handler": {"network": network}}))
    return lambda rows: handler.handle([{"body": row} for row in rows], None)


def work_named(name: str) -> Work:
    """One of the functions here, loaded; networks by their names in torchvision."""
    plain = {work.__name__: work for work in (hello, count, decode)}
    return plain[name] if name in plain else resnet(name)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))
