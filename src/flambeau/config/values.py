"""The types of setting values: how each is read from text, and how it is written back.

Every parser takes text and raises ``ValueError`` with a problem that completes "key=value: …".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from flambeau.config.server import Address, MetricsMode, StartupModel

MAX_PORT = 65_534
"""TorchServe rejects 65535, too."""

_INTEGER = re.compile(r"[+-]?[0-9]+")
_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.%]+\]|[^:/\[\]]+)(?::(?P<port>[0-9]+))?", re.IGNORECASE
)
_UNIX_ADDRESS = re.compile(r"unix:(?P<path>/.*)", re.IGNORECASE)
_MODEL_NAME = re.compile(r"[\w.\-]+")
_METRICS_MODES = {mode.value for mode in MetricsMode}


@dataclass(frozen=True, slots=True)
class ValueType:
    """How the values of a setting are written."""

    name: str
    """For people: ``integer of at least 1``."""
    parse: Callable[[str], Any]
    format: Callable[[Any], str] = str
    """The inverse of ``parse``."""
    remark: Callable[[str], str | None] = lambda _: None
    """A warning for text that is accepted, as TorchServe accepts it, and is probably a mistake."""


class StartupModels(NamedTuple):
    """What ``load_models`` says."""

    load_all: bool
    models: tuple[StartupModel, ...]


def _parse_boolean(text: str) -> bool:
    return text.strip().lower() == "true"


def _format_boolean(value: bool) -> str:
    return "true" if value else "false"


def _remark_on_boolean(text: str) -> str | None:
    if text.strip().lower() in ("true", "false"):
        return None
    return "counts as false: only the word 'true' is true"


def parse_integer(text: str) -> int:
    if not _INTEGER.fullmatch(text.strip()):
        raise ValueError("must be an integer")
    return int(text)


def _parse_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("must be a number") from None


def integer(minimum: int, maximum: int | None = None) -> ValueType:
    """Whole numbers from ``minimum`` to ``maximum``, both included."""

    def parse(text: str) -> int:
        value = parse_integer(text)
        if value < minimum:
            raise ValueError(f"must be at least {minimum}")
        if maximum is not None and value > maximum:
            raise ValueError(f"must be at most {maximum}")
        return value

    bounds = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    return ValueType(f"integer {bounds}", parse)


def duration(unit: str, unit_s: float, *, zero: bool) -> ValueType:
    """Lengths of time, decimals allowed, kept in seconds.

    Args:
        unit: what the text counts; it is ``unit_s`` seconds long.
        zero: whether 0 is allowed.
    """

    def parse(text: str) -> float:
        value = _parse_number(text)
        if zero and not 0 <= value < float("inf"):
            raise ValueError("must not be negative")
        if not zero and not 0 < value < float("inf"):
            raise ValueError("must be greater than 0")
        return value * unit_s

    return ValueType(f"{unit} (0 or more)" if zero else unit, parse, lambda value: f"{value / unit_s:.15g}")


def _parse_path(text: str) -> Path | None:
    return Path(text.strip()) if text.strip() else None


def _parse_address(text: str, http_port: int, https_port: int) -> Address:
    unix = _UNIX_ADDRESS.fullmatch(text.strip())
    if unix:
        return Address("unix", path=unix["path"])
    tcp = _ADDRESS.fullmatch(text.strip())
    if not tcp:
        raise ValueError(
            f"Invalid binding address: {text} (expected http://host:port, https://host:port or unix:/path)"
        )
    scheme = tcp["scheme"].lower()
    default_port = https_port if scheme == "https" else http_port
    return Address(scheme, tcp["host"].strip("[]"), default_port if tcp["port"] is None else parse_port(tcp["port"]))


def parse_port(text: str) -> int:
    """A port; 0 stands for any free one."""
    port = parse_integer(text)
    if not 0 <= port <= MAX_PORT:
        raise ValueError(f"Invalid port number: {text}")
    return port


def _parse_host(text: str) -> str:
    host = text.strip().strip("[]")
    if not host or "/" in host:
        raise ValueError("must be a host name or an IP address")
    return host


def address(http_port: int, https_port: int) -> ValueType:
    """Addresses of a listener, with the ports that an address without port gets."""
    return ValueType("address", lambda text: _parse_address(text, http_port, https_port))


def _checked_regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


def _parse_regexes(text: str) -> tuple[str, ...]:
    return tuple(_checked_regex(regex.strip()) for regex in text.split(",") if regex.strip())


def _parse_metrics_mode(text: str) -> MetricsMode:
    word = text.strip().lower()
    return MetricsMode(word) if word in _METRICS_MODES else MetricsMode.LOG


def _remark_on_metrics_mode(text: str) -> str | None:
    return None if text.strip().lower() in _METRICS_MODES else "counts as log: expected log, prometheus or legacy"


def _parse_startup_models(text: str) -> StartupModels:
    if text.strip().lower() == "all":
        return StartupModels(load_all=True, models=())
    return StartupModels(
        False, tuple(_parse_startup_model(entry.strip()) for entry in text.split(",") if entry.strip())
    )


def _parse_startup_model(entry: str) -> StartupModel:
    name, equals, url = entry.partition("=")
    if equals and _MODEL_NAME.fullmatch(name.strip()):
        if not url.strip():
            raise ValueError(f"{entry!r} names no file")
        return StartupModel(url=url.strip(), name=name.strip())
    return StartupModel(url=entry)


def _format_startup_models(value: StartupModels) -> str:
    entries = [model.url if model.name is None else f"{model.name}={model.url}" for model in value.models]
    return "all" if value.load_all else ",".join(entries)


def _parse_json_object(text: str) -> dict[str, Any] | None:
    if not text.strip():
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    return value


def _parse_model_defaults(text: str) -> Mapping[str, Mapping[str, Mapping[str, object]]]:
    models = _parse_json_object(text) or {}
    for model, versions in models.items():
        if not isinstance(versions, dict) or not all(isinstance(settings, dict) for settings in versions.values()):
            raise ValueError(f"model {model!r} must be an object of versions, and each version an object of settings")
    return models


TEXT = ValueType("text", lambda text: text)
OPTIONAL_TEXT = ValueType("text", lambda text: text.strip() or None)
BOOLEAN = ValueType("boolean", _parse_boolean, _format_boolean, _remark_on_boolean)
INVERTED_BOOLEAN = ValueType(
    "boolean", lambda text: not _parse_boolean(text), lambda value: _format_boolean(not value), _remark_on_boolean
)
"""For keys that switch something off while the field says that it is on."""
PATH = ValueType("path", _parse_path)
PORT = ValueType("port", parse_port)
HOST = ValueType("host", _parse_host)
REGEX = ValueType("regular expression", _checked_regex)
REGEXES = ValueType("regular expressions, comma-separated", _parse_regexes, ",".join)
METRICS_MODE = ValueType(
    "log, prometheus or legacy", _parse_metrics_mode, lambda mode: str(mode.value), _remark_on_metrics_mode
)
STARTUP_MODELS = ValueType("all, or file and name=file, comma-separated", _parse_startup_models, _format_startup_models)
JSON_OBJECT = ValueType("JSON object", _parse_json_object, json.dumps)
MODEL_DEFAULTS = ValueType("JSON object", _parse_model_defaults, json.dumps)
