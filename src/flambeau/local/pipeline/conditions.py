"""Conditions that a file can say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def has_items(items: Mapping[str, Any]) -> Callable[[Any], bool]:
    """The condition that a row is a mapping with these keys and values.

    It raises ``TypeError`` for a row that is not a mapping: the condition was written for another stage.
    """
    wanted = dict(items)

    def is_met(row: Any) -> bool:
        if not isinstance(row, Mapping):
            raise TypeError(f"the row is {type(row).__name__}, not a mapping with {', '.join(map(repr, wanted))}")
        return all(key in row and row[key] == value for key, value in wanted.items())

    return is_met
