"""The graph of a pipeline: which stage comes after which, and what its row is made of. Pure.

A plan is made once and checked as it is made: whoever has a :class:`Plan` has an acyclic graph in which every stage is
reached from the pipeline's row. A value that a row has on its way has a *slot*: 0 is the pipeline's own row, 1 and up
are the steps in the order of the plan, in which each comes after everything that it waits for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flambeau.errors import ConfigError
from flambeau.local.pipeline.hints import did_you_mean

ROW: Final = "row"
"""The name, in ``after`` and ``map``, of the row that the pipeline was called with."""

SKIPPED: Final = object()
"""The value of a stage that did not run."""

_FORBIDDEN = re.compile(r"[\s.,:\[\]]")
"""What separates names in ``map`` and ``next``."""


@dataclass(frozen=True, slots=True)
class Link:
    """What one stage says of its place in the graph."""

    name: str
    after: tuple[str, ...] | None = None
    """None: after the stages that ``map`` names, and without a ``map`` after the one listed before it."""
    map: Mapping[str, str] | str | None = None
    """What the row is: ``stage`` or ``stage.key``, or for each of its fields one of these. None: the value of the one
    stage in ``after``; of several, a dict by their names."""

    @property
    def targets(self) -> tuple[str, ...]:
        """What ``map`` takes."""
        if self.map is None or isinstance(self.map, str):
            return () if self.map is None else (self.map,)
        return tuple(self.map.values())


@dataclass(frozen=True, slots=True)
class Source:
    """Where one field of a step's row comes from."""

    field: str
    """Empty where the row is this one value."""
    slot: int
    name: str
    key: str | None
    """Of the mapping that the stage returned; None: all of what it returned."""


@dataclass(frozen=True, slots=True)
class Step:
    """One stage in its place."""

    name: str
    position: int
    """Among the stages as they were given."""
    slot: int
    sources: tuple[Source, ...]
    """What its row is made of; at least one."""
    is_join: bool
    """Whether its row is a dict by field; otherwise it is the value of the one source."""
    waits_for: tuple[int, ...]
    """Slots of steps, without the pipeline's own row."""
    followers: tuple[int, ...]
    """Slots of the steps that wait for this one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A graph that can be run."""

    steps: tuple[Step, ...]
    """In an order in which each comes after those that it waits for; as they were given where that allows."""
    finals: tuple[Step, ...]
    """Those that no other waits for. Their values are the pipeline's result."""

    @property
    def is_chain(self) -> bool:
        """Whether each step takes what the one before it returned, and nothing else."""
        return all(
            not step.is_join and step.sources[0].key is None and step.sources[0].slot == step.slot - 1
            for step in self.steps
        )

    def result(self, values: Sequence[Any]) -> Any:
        """What the pipeline returns: the value of its one final stage, None if that was skipped; of several final
        stages a dict by name, of those that ran.

        Args:
            values: by slot.
        """
        if len(self.finals) == 1:
            value = values[self.finals[0].slot]
            return None if value is SKIPPED else value
        return {step.name: values[step.slot] for step in self.finals if values[step.slot] is not SKIPPED}


def row_of(step: Step, values: Sequence[Any]) -> Any:
    """The row that a step is given; ``SKIPPED`` if all that it would be made of was skipped.

    Args:
        values: by slot; those that the step waits for are there.

    Raises:
        LookupError: a stage returned no mapping, or one without the key that ``map`` takes from it.
    """
    present = [source for source in step.sources if values[source.slot] is not SKIPPED]
    if not present:
        return SKIPPED
    if not step.is_join:
        return _taken(values[present[0].slot], present[0])
    return {source.field: _taken(values[source.slot], source) for source in present}


def _taken(value: Any, source: Source) -> Any:
    if source.key is None:
        return value
    if not isinstance(value, Mapping):
        raise LookupError(f"{source.name!r} returned {type(value).__name__}, from which no {source.key!r} can be taken")
    if source.key not in value:
        raise LookupError(f"{source.name!r} returned no {source.key!r}")
    return value[source.key]


def plan_of(links: Sequence[Link]) -> Plan:
    """Check the links of all stages and put them in order.

    Raises:
        ConfigError: there is no stage, two have one name, a name cannot be used, a link leads nowhere, or links go in a
            circle.
    """
    if not links:
        raise ConfigError("stages", "[]", "there must be at least one")
    _check_names([link.name for link in links])
    resolved = [_resolved(link, links[at - 1].name if at else ROW) for at, link in enumerate(links)]
    positions = {link.name: at for at, link in enumerate(links)}
    for link in resolved:
        _check_targets(link, positions)
    waits = {link.name: [name for name in _waits_for(link) if name != ROW] for link in resolved}
    slots = {ROW: 0} | {name: at + 1 for at, name in enumerate(_in_order(waits))}
    steps = tuple(
        Step(
            name=name,
            position=positions[name],
            slot=slot,
            sources=_sources(resolved[positions[name]], slots),
            is_join=_is_join(resolved[positions[name]]),
            waits_for=tuple(slots[other] for other in waits[name]),
            followers=tuple(sorted(slots[other] for other in waits if name in waits[other])),
        )
        for name, slot in slots.items()
        if name != ROW
    )
    finals = sorted((step for step in steps if not step.followers), key=lambda step: step.position)
    return Plan(steps, tuple(finals))


def after_of_next(
    following: Mapping[str, Sequence[str]], said: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """By stage, which ones it comes after, from which ones follow each, as torchpipe's files say it.

    Args:
        following: of every stage, in their order, its ``next``.
        said: what stages say themselves that they come after.

    Returns:
        What a stage says and the stages that name it, in their order; the pipeline's row for the one that has neither.

    Raises:
        ConfigError: a stage that is named does not exist, or there are several that nothing leads to.
    """
    after = {name: said.get(name, ()) for name in following}
    for name, names in following.items():
        for other in names:
            if other not in after:
                raise ConfigError(f"{name}.next", other, f"is no stage{did_you_mean(other, following)}")
            if name not in after[other]:
                after[other] = (*after[other], name)
    first = [name for name, names in after.items() if not names]
    if len(first) > 1:
        raise ConfigError(
            "stages",
            ", ".join(first),
            "no 'next' leads to them, and only one stage can be the first; "
            f"one that takes the pipeline's row beside the first says 'after: {ROW}'",
        )
    return after | dict.fromkeys(first, (ROW,))


def _check_names(names: Sequence[str]) -> None:
    seen = set()
    for name in names:
        if not isinstance(name, str) or not name or _FORBIDDEN.search(name):
            raise ConfigError("name", repr(name), "must be a text without spaces and any of . , : [ ]")
        if name == ROW:
            raise ConfigError("name", name, "stands for the row that the pipeline was called with")
        if name in seen:
            raise ConfigError("name", name, "is the name of two stages")
        seen.add(name)


def _resolved(link: Link, previous: str) -> Link:
    """The link with ``after`` said."""
    if link.after is not None:
        return link
    if link.map is None:
        return Link(link.name, (previous,))
    return Link(link.name, tuple(dict.fromkeys(target.partition(".")[0] for target in link.targets)), link.map)


def _check_targets(link: Link, known: Mapping[str, int]) -> None:
    for key, names, is_said in (("map", link.targets, link.map is not None), ("after", link.after or (), True)):
        if is_said and not names:
            raise ConfigError(f"{link.name}.{key}", "", f"must name at least one stage, or {ROW!r}")
        for name in names:
            stage = name.partition(".")[0] if key == "map" else name
            if stage != ROW and stage not in known:
                raise ConfigError(f"{link.name}.{key}", name, f"is no stage{did_you_mean(stage, (*known, ROW))}")
    if link.after is not None and len(set(link.after)) < len(link.after):
        raise ConfigError(f"{link.name}.after", ", ".join(link.after), "names a stage twice")


def _waits_for(link: Link) -> list[str]:
    taken = (target.partition(".")[0] for target in link.targets)
    return list(dict.fromkeys((*(link.after or ()), *taken)))


def _is_join(link: Link) -> bool:
    return len(link.after or ()) > 1 if link.map is None else not isinstance(link.map, str)


def _sources(link: Link, slots: Mapping[str, int]) -> tuple[Source, ...]:
    if link.map is None:
        return tuple(Source(name, slots[name], name, None) for name in link.after or ())
    sources = []
    for field, target in {"": link.map}.items() if isinstance(link.map, str) else link.map.items():
        stage, _, key = target.partition(".")
        sources.append(Source(field, slots[stage], stage, key or None))
    return tuple(sources)


def _in_order(waits: Mapping[str, Sequence[str]]) -> list[str]:
    """Names in an order in which each comes after those that it waits for; otherwise as they are given.

    Raises:
        ConfigError: there is none, with the circle in its words.
    """
    order: list[str] = []
    left = dict(waits)
    while left:
        name = next((name for name, others in left.items() if not any(other in left for other in others)), None)
        if name is None:
            raise ConfigError("stages", " → ".join(_circle(left)), "go in a circle")
        order.append(name)
        del left[name]
    return order


def _circle(waits: Mapping[str, Sequence[str]]) -> list[str]:
    """One circle, in the direction in which rows would go; every name given waits for another of them."""
    path = [next(iter(waits))]
    while path.count(path[-1]) < 2:
        path.append(next(other for other in waits[path[-1]] if other in waits))
    circle = path[path.index(path[-1]) :]
    return circle[::-1]
