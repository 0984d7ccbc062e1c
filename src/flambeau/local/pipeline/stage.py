"""What a user says of one stage of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from flambeau.errors import ConfigError
from flambeau.local.pipeline.graph import Link

SETTINGS = (
    "batch_size",
    "max_batch_delay_ms",
    "batch_policy",
    "workers",
    "processes",
    "threads",
    "device",
    "size_of",
    "queue_size",
    "response_timeout_s",
    "isolate_failures",
    "warm_up",
)
"""The fields of :class:`Stage` that are handed to :func:`flambeau.load`."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: what it runs, after which others, and how it is loaded.

    The settings from ``batch_size`` on are those of :func:`flambeau.load`; None leaves its default. A ``run`` that is
    loaded already, or a pipeline, has settings of its own and takes none.
    """

    name: str
    run: Any = None
    """Whatever :func:`flambeau.load` takes, a loaded model, or a pipeline. None: the stage hands its row on."""
    _: KW_ONLY
    after: str | Sequence[str] | None = None
    """Stages whose values it takes, or ``"row"`` for what the pipeline was called with. None: the stages that ``map``
    names; without ``map`` the stage listed before it."""
    map: Mapping[str, str] | str | None = None
    """What its row is: ``"stage"`` for all that a stage returned, ``"stage.key"`` for a part of it, or a dict of these
    by field. None: the value of the one stage that it comes after; of several, a dict by their names."""
    when: Callable[[Any], Any] | None = None
    """Whether the stage runs, from the row that it would be given. None: always."""
    timeout_s: float | None = None
    """Seconds after which a call of this stage alone is given up."""
    batch_size: int | None = None
    max_batch_delay_ms: float | None = None
    batch_policy: Literal["adaptive", "fixed"] | None = None
    workers: int | Literal["process"] | None = None
    processes: int | None = None
    threads: int | None = None
    device: str | None = None
    size_of: Callable[[Any], int] | None = None
    queue_size: int | None = None
    response_timeout_s: float | None = None
    isolate_failures: bool | None = None
    warm_up: Iterable[Any] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.after, str):
            object.__setattr__(self, "after", (self.after,))
        _require(self, "after", _is_texts, "must name a stage, or several")
        _require(self, "map", _is_text_map, "must be stage or stage.key, or say one of these for each field")
        _require(self, "when", callable, "must be a function of a row")
        _require(self, "timeout_s", _is_duration, "must be a number greater than 0")

    @property
    def link(self) -> Link:
        """Its place in the graph, as far as it says it."""
        return Link(self.name, None if self.after is None else tuple(self.after), self.map)

    @property
    def settings(self) -> dict[str, Any]:
        """What it says of how to load it, by the names that :func:`flambeau.load` has for it."""
        said = {name: getattr(self, name) for name in SETTINGS}
        return {name: value for name, value in said.items() if value is not None}


def _require(stage: Stage, field: str, is_right: Callable[[Any], bool], problem: str) -> None:
    value = getattr(stage, field)
    if value is not None and not is_right(value):
        raise ConfigError(f"{stage.name}.{field}", repr(value), problem)


def _is_texts(value: Any) -> bool:
    return isinstance(value, Sequence) and all(isinstance(name, str) for name in value)


def _is_text_map(value: Any) -> bool:
    texts = [text for item in value.items() for text in item] if isinstance(value, Mapping) else [value]
    return all(isinstance(text, str) for text in texts)


def _is_duration(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
