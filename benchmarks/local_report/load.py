"""Calls one after another in as many threads as there are clients, counted within a window of time.

Imports nothing but the standard library: the peers' environments use it, too.
"""

from __future__ import annotations

import math
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

SHARES = 1000
"""Latencies are told as the values below which 0, 1, 2 … 1000 thousandths of them lie."""

Call = Callable[[Any], Any]


class LoadFailed(Exception):
    """What was to be measured raised, or answered nothing within the window."""


@dataclass(frozen=True)
class Window:
    """What ends between two instants counts. Nanoseconds of ``perf_counter_ns``, which all processes share."""

    start_ns: int
    end_ns: int

    @classmethod
    def after(cls, warm_up_s: float, seconds: float) -> Window:
        """A window that begins when the warm-up, which begins now, is over."""
        start_ns = time.perf_counter_ns() + round(warm_up_s * 1e9)
        return cls(start_ns, start_ns + round(seconds * 1e9))

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True)
class Sample:
    """What one window saw."""

    calls: int
    seconds: float
    quantiles_ns: tuple[int, ...]
    """``SHARES + 1`` latencies, ascending; empty where they were not measured."""

    @classmethod
    def of(cls, latencies_ns: Sequence[int], seconds: float) -> Sample:
        ordered = sorted(latencies_ns)
        return cls(len(ordered), seconds, _quantiles(ordered, range(1, len(ordered) + 1)))

    def quantile_ms(self, share: float) -> float:
        """NaN where latencies were not measured."""
        if not self.quantiles_ns:
            return math.nan
        return self.quantiles_ns[round(share * SHARES)] / 1e6


def pooled(samples: Sequence[Sample]) -> Sample:
    """The samples of several processes that ran within the same window, as one."""
    weighted = sorted(
        (latency_ns, sample.calls / len(sample.quantiles_ns))
        for sample in samples
        for latency_ns in sample.quantiles_ns
    )
    quantiles = _quantiles([value for value, _ in weighted], list(accumulate(weight for _, weight in weighted)))
    return Sample(sum(sample.calls for sample in samples), samples[0].seconds, quantiles)


def _quantiles(ordered: Sequence[int], ranks: Sequence[float]) -> tuple[int, ...]:
    if not ordered:
        return ()
    step = ranks[-1] / SHARES
    last = len(ordered) - 1
    return tuple(ordered[min(last, bisect_left(ranks, share * step))] for share in range(SHARES + 1))


def closed_loop(call: Call, row: Any, window: Window, now: Callable[[], int] = time.perf_counter_ns) -> array[int]:
    """Call until the window ends, each call beginning when the one before has its answer.

    A client that comes late, because others held processor or GIL, is counted from when it comes.

    Returns:
        Nanoseconds that each call took which ended within the window.
    """
    start_ns, end_ns = window.start_ns, window.end_ns
    latencies_ns = array("q")
    record = latencies_ns.append
    began = now()
    while True:
        call(row)
        ended = now()
        if ended >= start_ns:
            break
        began = ended
    while ended < end_ns:
        record(ended - began)
        began = ended
        call(row)
        ended = now()
    return latencies_ns


def measure_threads(call: Call, row: Any, clients: int, window: Window) -> Sample:
    """The same call made by several threads at once. Raises LoadFailed."""
    latencies_ns: array[int] = array("q")
    failures: list[BaseException] = []
    lock = threading.Lock()
    together = threading.Barrier(clients)

    def run_client() -> None:
        together.wait()
        try:
            mine = closed_loop(call, row, window)
        except BaseException as error:
            failures.append(error)
        else:
            with lock:
                latencies_ns.extend(mine)

    threads = [threading.Thread(target=run_client, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise LoadFailed(f"a call failed: {failures[0]!r}") from failures[0]
    if not latencies_ns:
        raise LoadFailed(f"no call ended within {window.seconds:g} s")
    return Sample.of(latencies_ns, window.seconds)
