"""What a file says of a pipeline, checked key by key. Pure: nothing is imported, opened or loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flambeau.config.model_settings import MODEL_SETTINGS
from flambeau.errors import ConfigError
from flambeau.local.pipeline.graph import after_of_next
from flambeau.local.pipeline.hints import did_you_mean
from flambeau.local.pipeline.torchpipe import (
    IDENTITY,
    NOT_SUPPORTED,
    parse_backend,
    parse_batch_limit,
    parse_batch_minimum,
    parse_filter,
    parse_map,
)


@dataclass(frozen=True, slots=True)
class StageDescription:
    """One stage of a file."""

    name: str
    run: str | None = None
    """What names it; None: the stage hands its row on."""
    options: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] | None = None
    map: Mapping[str, str] | str | None = None
    when: Mapping[str, Any] | str | None = None
    """Items that the row must have, or the name of a function."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Its own, by the names of :class:`Stage`'s fields; ``size_of`` is the name of a function."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """The same from the top of the file: for stages that load something and do not say it themselves."""


@dataclass(frozen=True, slots=True)
class Description:
    """A pipeline as a file says it."""

    name: str
    stages: tuple[StageDescription, ...]


def describe_pipeline(document: Mapping[str, Any], name: str) -> Description:
    """Check what a file says.

    Args:
        document: each mapping in it is a stage, in this order; everything else holds for all stages, or for the server
            that serves the pipeline.
        name: of the pipeline, unless the document says one.

    Raises:
        ConfigError: a key is not known or has a value that cannot be used; it names stage, key and value.
    """
    document = dict(document)
    name = _parsed("", "name", document.pop("name", name), _text)
    for key in list(document):
        if not isinstance(key, str):
            raise ConfigError("name", repr(key), "must be text")
        if _camel(key) in _OF_THE_SERVER:
            del document[key]
    tables = {key: value for key, value in document.items() if isinstance(value, Mapping)}
    common = _parse_table("", {key: value for key, value in document.items() if key not in tables})
    for key in _OF_ONE_STAGE & set(common):
        raise ConfigError(key, common[key], "belongs to one stage, not to all")
    stages = {key: _parse_table(key, table) for key, table in tables.items()}
    after = _after(stages)
    return Description(name, tuple(_stage(stage, values, common, after[stage]) for stage, values in stages.items()))


def _stage(
    name: str, values: Mapping[str, Any], common: Mapping[str, Any], after: tuple[str, ...] | None
) -> StageDescription:
    run = values.get("run", common.get("run"))
    if run == IDENTITY:
        run = None
    options = values.get("options", {})
    if options and run is None:
        raise ConfigError(f"{name}.options", options, "the stage runs nothing that could take them")
    return StageDescription(
        name=name,
        run=run,
        options=options,
        after=after,
        map=_map(name, values.get("map"), after),
        when=values.get("when"),
        settings=_settings(values),
        defaults=_settings(common),
    )


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that say how to load a stage."""
    return {key: value for key, value in values.items() if key not in _OF_ONE_STAGE | {"run"} and value is not None}


def _after(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, ...] | None]:
    """By stage, what it comes after; None where the file leaves that to the order of its stages."""
    said = {name: values.get("after") for name, values in stages.items()}
    if not any("next" in values for values in stages.values()):
        return said
    takes = {name: said[name] or _taken(values.get("map")) for name, values in stages.items()}
    return dict(after_of_next({name: values.get("next", ()) for name, values in stages.items()}, takes))


def _taken(rule: Any) -> tuple[str, ...]:
    """The stages that a ``map`` names."""
    if rule is None:
        return ()
    if isinstance(rule, _TorchpipeMap):
        names = [stage for stage, _ in rule.fields.values()]
    else:
        names = [target.partition(".")[0] for target in ([rule] if isinstance(rule, str) else rule.values())]
    return tuple(dict.fromkeys(name for name in names if name))


def _map(name: str, rule: Any, after: tuple[str, ...] | None) -> Mapping[str, str] | str | None:
    """A ``map`` in our form, with the stages that torchpipe's may leave out."""
    if not isinstance(rule, _TorchpipeMap):
        return rule  # type: ignore[no-any-return]
    targets = {}
    for item, (stage, key) in rule.fields.items():
        if not stage and (after is None or len(after) != 1):
            raise ConfigError(f"{name}.map", rule.text, "names no stage, and there is not just one before it")
        stage = stage or (after or ("",))[0]
        targets[item] = stage if key is None else f"{stage}.{key}"
    return targets["data"] if set(targets) == {"data"} else targets


def _parse_table(stage: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """The values of one table by field, checked. ``stage`` is empty for the top of the file."""
    values: dict[str, Any] = {}
    options: dict[str, Any] = {}
    said_by: dict[str, str] = {}
    for key, value in table.items():
        where = f"{stage}.{key}" if stage else str(key)
        known = KEYS.get(_camel(str(key)))
        if known is None:
            if "backend" in table and stage and key not in NOT_SUPPORTED and not isinstance(value, Mapping):
                options[str(key)] = value  # torchpipe has them beside the settings
                continue
            raise ConfigError(where, value, _unknown(str(key), value))
        parsed = _parsed(stage, str(key), value, known.parse)
        if known.field in values and values[known.field] != parsed:
            raise ConfigError(where, value, f"says otherwise than {said_by[known.field]!r}, which means the same")
        values[known.field] = parsed
        said_by[known.field] = str(key)
    if options:
        values["options"] = options | values.get("options", {})
    return values


def _parsed(stage: str, key: str, value: Any, parse: Callable[[Any], Any]) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        raise ConfigError(f"{stage}.{key}" if stage else key, value, str(error)) from None


def _unknown(key: str, value: Any) -> str:
    if key in NOT_SUPPORTED:
        return f"is torchpipe's and not supported: {NOT_SUPPORTED[key]}"
    if isinstance(value, Mapping):
        return (
            "is no key of a stage: stages stand beside one another at the top of the file "
            "(torchpipe's 'name.2' has no equal)"
        )
    return f"is no key of a stage{did_you_mean(key, KEYS)}; options of what the stage runs belong under 'options'"


def _camel(key: str) -> str:
    """``max_batch_delay`` to ``maxBatchDelay``; both are understood."""
    first, *rest = key.split("_")
    return first + "".join(word.capitalize() for word in rest)


class _TorchpipeMap(NamedTuple):
    text: str
    fields: dict[str, tuple[str, str | None]]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text")
    return value.strip()


def _names(value: Any) -> tuple[str, ...]:
    """A list of texts, or one text with commas."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError("must be the name of a stage, or several")
    return tuple(name.strip() for name in names)


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError("must be a mapping")
    return dict(value)


def _condition(value: Any) -> dict[str, Any] | str:
    condition = _text(value) if isinstance(value, str) else _mapping(value)
    if not condition:
        raise ValueError("must have at least one item")
    return condition


def _map_rule(value: Any) -> Any:
    if isinstance(value, str):
        return _TorchpipeMap(value, parse_map(value)) if "[" in value else _text(value)
    return {name: _text(target) for name, target in _mapping(value).items()}


def _at_least(minimum: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if type(value) is not int or value < minimum:  # a boolean is not an integer here
            raise ValueError(f"must be an integer of at least {minimum}")
        return value

    return parse


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < float("inf"):
        raise ValueError("must be a number that is not negative")
    return float(value)


def _duration_s(value: Any) -> float:
    if _number(value) == 0:
        raise ValueError("must be greater than 0")
    return float(value)


def _workers(value: Any) -> int | str:
    return value if value == "process" else _at_least(1)(value)


def _policy(value: Any) -> str:
    if value not in ("adaptive", "fixed"):
        raise ValueError("must be adaptive or fixed")
    return str(value)


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("must be true or false")
    return value


def _device_type(value: Any) -> str:
    if value not in ("cpu", "gpu"):
        raise ValueError("must be cpu or gpu")
    return "cuda" if value == "gpu" else "cpu"


class _Key(NamedTuple):
    field: str
    """Of :class:`Stage`, or what :class:`StageDescription` makes of it. Keys of one field mean the same."""
    parse: Callable[[Any], Any]


KEYS = {
    "run": _Key("run", _text),
    "options": _Key("options", _mapping),
    "after": _Key("after", _names),
    "map": _Key("map", _map_rule),
    "when": _Key("when", _condition),
    "timeout": _Key("timeout_s", _duration_s),
    "batchSize": _Key("batch_size", _at_least(1)),
    "maxBatchDelay": _Key("max_batch_delay_ms", _number),
    "batchPolicy": _Key("batch_policy", _policy),
    "workers": _Key("workers", _workers),
    "minWorkers": _Key("workers", _at_least(1)),
    "maxWorkers": _Key("workers", _at_least(1)),
    "processes": _Key("processes", _at_least(1)),
    "deviceType": _Key("device", _device_type),
    "device": _Key("device", _text),
    "threads": _Key("threads", _at_least(1)),
    "jobQueueSize": _Key("queue_size", _at_least(1)),
    "responseTimeout": _Key("response_timeout_s", _duration_s),
    "sizeOf": _Key("size_of", _text),
    "isolateFailures": _Key("isolate_failures", _boolean),
    # torchpipe's
    "backend": _Key("run", parse_backend),
    "instanceNum": _Key("workers", parse_batch_limit),
    "batchingTimeout": _Key("max_batch_delay_ms", _number),
    "max": _Key("batch_size", parse_batch_limit),
    "min": _Key("min", parse_batch_minimum),
    "next": _Key("next", _names),
    "filter": _Key("filter", parse_filter),
}
"""By key, written in camel case."""

_OF_ONE_STAGE = {"options", "after", "map", "when", "next"}
"""Fields that cannot be said for all stages at once, nor belong to loading."""

_OF_THE_SERVER = (set(MODEL_SETTINGS) - set(KEYS)) | {"minWorkers", "maxWorkers"}
"""Keys that, at the top of the file, are about the worker processes in which a server runs the pipeline."""
