"""Where server settings come from: files, environment and command line. Keeps the origin of each.

Order, later wins: built-in defaults, the command's own defaults, the properties file, ``LOG_LOCATION`` and its like,
the command line, and, where ``enable_envvars_config`` allows it, ``TS_…`` variables. This is TorchServe's order.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from flambeau.config.properties import ENCODING, parse_properties
from flambeau.config.server import DEFAULT_ALLOWED_URLS, Address, HttpLimits, ServerConfig
from flambeau.config.settings import SERVER_SETTINGS, SNAPSHOT_NOTE, EnvironmentRule, ServerSetting
from flambeau.config.values import BOOLEAN, StartupModels, parse_port
from flambeau.errors import ConfigError

COMMAND_LINE = "command line"
DEFAULT = "default"
CONFIG_FILE = "tsConfigFile"
"""The command line's name for the properties file."""
HOST = "host"
"""Command line only: replaces the host of every address."""
PORTS = {
    "inference_port": "inference_address",
    "management_port": "management_address",
    "metrics_port": "metrics_address",
}
"""Command line only: each replaces the port of one address."""

_GRPC_HOSTS = ("grpc_inference_address", "grpc_management_address")
_PLACEHOLDER = re.compile(r"\$\$([^$]+)\$\$")
_DEFAULTS = ServerConfig()


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """The server's settings, and what is to be said about them."""

    config: ServerConfig
    origins: Mapping[str, str]
    """By key, for every setting: ``config.properties:12``, ``environment TS_JOB_QUEUE_SIZE``, ``command line``,
    ``default``."""
    warnings: Sequence[str]
    file: Path | None
    """The properties file that was read."""


class _Given(NamedTuple):
    """A value as somebody wrote it."""

    text: str
    origin: str


def load_server_config(
    *,
    cli: Mapping[str, object],
    environ: Mapping[str, str],
    cwd: Path,
    use_snapshots: bool = True,
    defaults: Mapping[str, str] | None = None,
) -> LoadedConfig:
    """Read every source and decide.

    Args:
        cli: what the command line gives, by key of ``config.properties``, and by :data:`CONFIG_FILE`, :data:`HOST`
            and the keys of :data:`PORTS`. ``str()`` of a value is read as the file's would be; booleans are booleans.
        cwd: what relative paths are relative to.
        use_snapshots: whether the newest snapshot is the configuration when no file is named.
        defaults: where the command differs from the built-in defaults.

    Raises:
        ConfigError: names source, key and value of the first setting that cannot be used, or the file that cannot be
            read.
    """
    typed = {key: _text(value) for key, value in cli.items()}
    file = _choose_file(typed, environ, cwd, use_snapshots=use_snapshots)
    warnings: list[str] = []

    given = {key: _Given(text, "default of this command") for key, text in (defaults or {}).items()}
    if file is not None:
        given.update(_read_file(file.path, _display(file.path, cwd), environ, warnings))
    given.update(_environment(environ, EnvironmentRule.ALWAYS))
    given.update(_command_line(typed))
    if _is_true(given, "enable_envvars_config"):
        given.update(_environment(environ, EnvironmentRule.ENABLED))
        if _is_true(given, "use_env_allowed_urls"):
            given.update(_environment(environ, EnvironmentRule.ENABLED_URLS))
    given.update(_open_inference_protocol(environ))

    origins = {key: given[key].origin if key in given else DEFAULT for key in SERVER_SETTINGS}
    values = _parse(given, warnings)
    _replace_address_parts(typed, values, origins)
    config = _assemble(values, cwd)
    config = replace(config, effective_properties=_effective_properties(config, given))
    warnings.extend(_remarks_on_whole(config, origins))
    return LoadedConfig(config, origins, warnings, None if file is None else file.path)


class _ChosenFile(NamedTuple):
    path: Path
    origin: str


def _choose_file(
    typed: Mapping[str, str], environ: Mapping[str, str], cwd: Path, *, use_snapshots: bool
) -> _ChosenFile | None:
    """The properties file to read: ``TS_CONFIG_FILE``, the one named, the newest snapshot, ``./config.properties``."""
    for name, origin in (
        (environ.get("TS_CONFIG_FILE"), "environment TS_CONFIG_FILE"),
        (typed.get(CONFIG_FILE), COMMAND_LINE),
    ):
        if name:
            path = cwd / name
            if not path.is_file():
                raise ConfigError("--config", name, "no such file", origin)
            return _ChosenFile(path, origin)
    if use_snapshots:
        log_dir = typed.get("log_dir") or environ.get("LOG_LOCATION") or _DEFAULTS.log_dir
        snapshots = sorted(
            (cwd / log_dir / "config").glob("*.cfg"), key=lambda path: (path.stat().st_mtime_ns, path.name)
        )
        if snapshots:
            return _ChosenFile(snapshots[-1], "newest snapshot")
    path = cwd / "config.properties"
    return _ChosenFile(path, "working directory") if path.is_file() else None


def _read_file(path: Path, name: str, environ: Mapping[str, str], warnings: list[str]) -> Iterator[tuple[str, _Given]]:
    """The settings of a file, with placeholders replaced; what is not a setting becomes a warning."""
    try:
        text = path.read_bytes().decode(ENCODING)
    except OSError as error:
        raise ConfigError("--config", path, error.strerror or "cannot be read") from error
    for key, value, line in parse_properties(text, name):
        origin = f"{name}:{line}"
        setting = SERVER_SETTINGS.get(key)
        if setting is None:
            warnings.append(f"{origin}: unknown setting {key!r} is ignored{_suggestion(key)}")
        elif setting.without_effect:
            if setting.without_effect is not SNAPSHOT_NOTE:
                warnings.append(f"{origin}: {key} has no effect: {setting.without_effect}")
        else:
            yield key, _Given(_substitute(key, value, environ, origin), origin)


def _substitute(key: str, value: str, environ: Mapping[str, str], origin: str) -> str:
    def variable(match: re.Match[str]) -> str:
        try:
            return environ[match[1]]
        except KeyError:
            raise ConfigError(key, value, f"Invalid Environment Variable {match[1]}", origin) from None

    return _PLACEHOLDER.sub(variable, value)


def _command_line(typed: Mapping[str, str]) -> Iterator[tuple[str, _Given]]:
    for key, text in typed.items():
        if key in (CONFIG_FILE, HOST) or key in PORTS:
            continue
        setting = SERVER_SETTINGS.get(key)
        if setting is None:
            raise ConfigError(key, text, f"no such setting{_suggestion(key)}", COMMAND_LINE)
        if setting.without_effect:
            raise ConfigError(key, text, f"has no effect: {setting.without_effect}", COMMAND_LINE)
        yield key, _Given(text, COMMAND_LINE)


def _environment(environ: Mapping[str, str], rule: EnvironmentRule) -> Iterator[tuple[str, _Given]]:
    for setting in SERVER_SETTINGS.values():
        variable = setting.variable
        if setting.environment_rule is rule and variable is not None and variable in environ:
            yield setting.key, _Given(environ[variable], f"environment {variable}")


def _open_inference_protocol(environ: Mapping[str, str]) -> Iterator[tuple[str, _Given]]:
    for key, given in _environment(environ, EnvironmentRule.PROTOCOL):
        if given.text:
            yield key, _Given(_text(given.text == "oip"), given.origin)


def _parse(given: Mapping[str, _Given], warnings: list[str]) -> dict[str, Any]:
    """Values by key."""
    values = {}
    for key, (text, origin) in given.items():
        setting = SERVER_SETTINGS[key]
        values[key] = _parse_value(setting, text, origin)
        remark = setting.type.remark(text)
        if remark:
            warnings.append(f"{origin}: {key}={text} {remark}")
    return values


def _parse_value(setting: ServerSetting, text: str, origin: str) -> Any:
    try:
        return setting.type.parse(text)
    except ValueError as error:
        raise ConfigError(setting.key, text, str(error), origin) from None


def _replace_address_parts(typed: Mapping[str, str], values: dict[str, Any], origins: dict[str, str]) -> None:
    if HOST in typed:
        for key in _GRPC_HOSTS:
            values[key] = typed[HOST].strip("[]")
            origins[key] = COMMAND_LINE
    for port_key, key in PORTS.items():
        address: Address = values.get(key) or getattr(_DEFAULTS, key)
        changed = address
        if address.scheme == "unix":
            continue
        if HOST in typed:
            changed = replace(changed, host=typed[HOST].strip("[]"))
        if port_key in typed:
            try:
                changed = replace(changed, port=parse_port(typed[port_key]))
            except ValueError as error:
                raise ConfigError(port_key, typed[port_key], str(error), COMMAND_LINE) from None
        if changed != address:
            values[key] = changed
            origins[key] = COMMAND_LINE


def _assemble(values: Mapping[str, Any], cwd: Path) -> ServerConfig:
    """The configuration, with every path absolute."""
    server: dict[str, Any] = {"log_dir": cwd / _DEFAULTS.log_dir, "key_file": cwd / _DEFAULTS.key_file}
    limits: dict[str, Any] = {}
    for key, value in values.items():
        owner, _, field = SERVER_SETTINGS[key].field.rpartition(".")
        if value is None:  # written and left empty: not set
            continue
        if isinstance(value, StartupModels):
            server["startup_models"], server["load_all_models"] = value.models, value.load_all
        elif isinstance(value, Path):
            server[field] = cwd / value
        elif owner == "limits":
            limits[field] = value
        elif field:
            server[field] = value
    return ServerConfig(limits=HttpLimits(**limits), **server)


def read_field(config: ServerConfig, setting: ServerSetting) -> Any:
    """The value that a configuration holds for a setting; None where no field holds it or nothing is set."""
    if setting.field == "startup_models":
        return StartupModels(config.load_all_models, config.startup_models)
    owner, _, field = setting.field.rpartition(".")
    return getattr(config.limits if owner else config, field) if field else None


def _effective_properties(config: ServerConfig, given: Mapping[str, _Given]) -> dict[str, str]:
    """Every setting that has a value, as a properties file would give it. The snapshot adds its models itself."""
    properties = {}
    for key, setting in SERVER_SETTINGS.items():
        if setting.without_effect or key == "model_snapshot":
            continue
        value = read_field(config, setting)
        if value is not None:
            properties[key] = setting.type.format(value)
        elif not setting.field and key in given:
            properties[key] = given[key].text
    return properties


def _remarks_on_whole(config: ServerConfig, origins: Mapping[str, str]) -> Iterator[str]:
    """Warnings about settings that are right each by itself."""
    if config.enable_model_api and config.allowed_urls == DEFAULT_ALLOWED_URLS:
        yield "allowed_urls is at its default: with the model API on, clients may register models from any URL"
    if config.model_snapshot is not None and origins["load_models"] == COMMAND_LINE:
        yield "the models of the command line are ignored: those of the snapshot are restored"


def _is_true(given: Mapping[str, _Given], key: str) -> bool:
    return key in given and bool(BOOLEAN.parse(given[key].text))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _display(path: Path, cwd: Path) -> str:
    return os.path.relpath(path, cwd) if path.is_relative_to(cwd) else str(path)


def _suggestion(key: str) -> str:
    matches = difflib.get_close_matches(key, SERVER_SETTINGS, n=1, cutoff=0.7)
    return f"; did you mean {matches[0]!r}?" if matches else ""
