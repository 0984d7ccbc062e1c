"""What a stage is: a function of a batch of rows in which one row's failure is its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

AnyStage = TypeVar("AnyStage", bound="Stage")


class Stage(ABC):
    """Takes a list of rows and returns a list of as many results, in their order.

    A row that fails has its exception as its result. A row that is an exception already, because a stage before
    failed on it, is passed on. Stages keep nothing between calls and may be called by several threads at once. They are
    pickled as the call that made them.
    """

    _made_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls: type[AnyStage], *args: Any, **options: Any) -> AnyStage:
        stage = super().__new__(cls)
        stage._made_with = args, options
        return stage

    @abstractmethod
    def __call__(self, rows: Sequence[Any]) -> list[Any]: ...

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (type(self), *self._made_with)

    def __repr__(self) -> str:
        args, options = self._made_with
        given = [*map(repr, args), *(f"{name}={value!r}" for name, value in options.items())]
        return f"{type(self).__name__}({', '.join(given)})"


class RowStage(Stage):
    """A stage that gains nothing from doing rows together."""

    @abstractmethod
    def one(self, row: Any) -> Any:
        """A row to its result. Whatever it raises is that row's failure."""

    def __call__(self, rows: Sequence[Any]) -> list[Any]:
        return [row if isinstance(row, Exception) else _attempt(self.one, row) for row in rows]


class BatchStage(Stage):
    """A stage that does rows of one kind together; a mixed batch is done kind by kind."""

    @abstractmethod
    def prepare(self, row: Any) -> tuple[Hashable, Any]:
        """The kind that a row is of, and the row as :meth:`many` takes it. Raises if it is none that can be done."""

    @abstractmethod
    def many(self, kind: Any, values: list[Any]) -> Sequence[Any]:
        """The results of one or more values of one kind. Each is what it would be if its value were alone."""

    def __call__(self, rows: Sequence[Any]) -> list[Any]:
        results: list[Any] = list(rows)
        groups: dict[Hashable, tuple[list[int], list[Any]]] = {}
        for place, row in enumerate(rows):
            if isinstance(row, Exception):
                continue
            prepared = _attempt(self.prepare, row)
            if isinstance(prepared, Exception):
                results[place] = prepared
                continue
            kind, value = prepared
            places, values = groups.setdefault(kind, ([], []))
            places.append(place)
            values.append(value)
        for kind, (places, values) in groups.items():
            for place, result in zip(places, self._settle(kind, values), strict=True):
                results[place] = result
        return results

    def _settle(self, kind: Hashable, values: list[Any]) -> Sequence[Any]:
        """Do a group together, or, where that fails, each alone: so that only those at fault fail."""
        done = _attempt(self.many, kind, values)
        if not isinstance(done, Exception):
            return done  # type: ignore[no-any-return]
        if len(values) == 1:
            return [done]
        return [result for value in values for result in self._settle(kind, [value])]


def _attempt(function: Any, *args: Any) -> Any:
    """What a function returns or raises. The border of a row: whatever goes wrong inside is the row's result."""
    try:
        return function(*args)
    except Exception as error:  # one row must not cost its neighbours theirs
        return error


def _make(cls: type[AnyStage], args: tuple[Any, ...], options: dict[str, Any]) -> AnyStage:
    return cls(*args, **options)
