"""The three comparisons that are run again and again, each with the bounds that Flambeau is to keep in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from benchmarks.results import Target, company_target, latency_target, p99_ms, ratio_target, requests_per_s


class PresetName(str, Enum):
    THROUGHPUT = "throughput"
    """Many connections and a body so small that only the servers' own work counts."""
    COMPANY = "company"
    """Few connections under a large batch size: nobody may wait for company that does not come."""
    LARGE = "large"
    """Bodies as large as images."""


@dataclass(frozen=True)
class Preset:
    batch_sizes: tuple[int, ...]
    connections: tuple[int, ...]
    servers: tuple[str, ...]
    body_bytes: int = 64
    targets: tuple[Target, ...] = ()


PRESETS = {
    PresetName.THROUGHPUT: Preset(
        batch_sizes=(1, 8, 32),
        connections=(64,),
        servers=("flambeau", "mosec", "litserve", "torchserve", "bare"),
        targets=(
            ratio_target(requests_per_s, batch_size=1, connections=64, to="mosec", at_least=1.2),
            ratio_target(requests_per_s, batch_size=8, connections=64, to="mosec", at_least=1.6),
            ratio_target(requests_per_s, batch_size=32, connections=64, to="mosec", at_least=1.3),
            ratio_target(requests_per_s, batch_size=8, connections=64, to="torchserve", at_least=10),
            ratio_target(requests_per_s, batch_size=8, connections=64, to="litserve", at_least=30),
            ratio_target(requests_per_s, batch_size=32, connections=64, to="bare", at_least=0.5),
            *(ratio_target(p99_ms, batch_size=b, connections=64, to="mosec", at_most=1) for b in (1, 8, 32)),
        ),
    ),
    PresetName.COMPANY: Preset(
        batch_sizes=(32,),
        connections=(1, 2, 3, 4, 7),
        servers=("flambeau", "mosec"),
        targets=(
            latency_target(batch_size=32, connections=1, at_most_ms=0.25),
            *(company_target(connections, batch_size=32) for connections in (2, 3, 4, 7)),
        ),
    ),
    PresetName.LARGE: Preset(
        batch_sizes=(8,),
        connections=(16, 64),
        servers=("flambeau", "mosec"),
        body_bytes=100_000,
        targets=tuple(
            ratio_target(requests_per_s, batch_size=8, connections=connections, to="mosec", at_least=1.5)
            for connections in (16, 64)
        ),
    ),
}
