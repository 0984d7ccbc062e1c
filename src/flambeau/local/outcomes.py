"""What a handler returns or raises for a batch, as what becomes of each of its rows."""

from __future__ import annotations

from types import GeneratorType
from typing import Any

from flambeau.local.engine import RunBatch
from flambeau.local.pending import PendingCall
from flambeau.local.streams import STREAMED, run_streams

SPECIAL = (Exception, GeneratorType)
"""Results that are not the answer itself: a row's failure, and an answer in parts."""


def plain_result(result: Any) -> Any:
    """The answer, where a result is a failure or comes in parts."""
    if isinstance(result, Exception):
        try:
            raise result
        finally:
            del result  # else its traceback and this frame would hold each other
    return list(result) if isinstance(result, GeneratorType) else result


def attempt(run: RunBatch, rows: list[Any]) -> list[Any] | BaseException:
    """A batch's results, or what was raised instead of them."""
    try:
        return run(rows)
    except BaseException as error:  # the border to user code; what it raises is its rows' answer, not this thread's end
        return error


def run_parts(batch: list[PendingCall], outcomes: list[Any]) -> list[Any]:
    """Run the generators among a batch's results: their parts go to whoever reads the stream, else into a list."""
    collected: dict[int, list[Any]] = {
        place: [] for place, outcome in enumerate(outcomes) if type(outcome) is GeneratorType
    }

    def emit(place: int, part: Any) -> bool:
        parts = batch[place].parts
        if parts is None:
            collected[place].append(part)
        else:
            parts.put(part)
        return batch[place].is_wanted

    ends = run_streams({place: outcomes[place] for place in collected}, emit)
    results = list(outcomes)
    for place, error in ends.items():
        results[place] = error or (collected[place] if batch[place].parts is None else STREAMED)
    return results
