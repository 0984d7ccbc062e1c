"""Where the settings of one model version come from: the register call, its YAML file, the ``models`` property.

Which wins depends on the setting, as in TorchServe:

- batch size and delay: call, YAML, property, 1 and 100 ms;
- time-outs: where a YAML file exists, it and its defaults of 120 s; else property, call, server default;
- workers: YAML if it sets both numbers; else, at start-up, property and ``default_workers_per_model``, and in a call
  its ``initial_workers``;
- queue size: YAML, server default;
- everything else: YAML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from flambeau.config.model import BatchingConfig, ModelConfig, PlacementConfig
from flambeau.config.model_settings import MODEL_SETTINGS
from flambeau.config.server import ServerConfig
from flambeau.errors import BadRequest, ConfigError, InvalidModel

_BUILT_IN_TIMEOUT_S = 120.0
"""What TorchServe takes for time-outs that a YAML file does not set, whatever the server's defaults are."""


@dataclass(frozen=True, slots=True)
class LoadedModelConfig:
    """The settings of one model version, and what is to be said about them."""

    config: ModelConfig
    origins: Mapping[str, str]
    """By YAML key, for every setting: ``registration``, the YAML's name, ``models property``, a server setting, or
    ``default``."""
    warnings: Sequence[str]


@dataclass(slots=True)
class _Settings:
    """Values by YAML key, each with its origin. A key is set at most once: whoever comes first wins."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def offer(self, key: str, value: Any, origin: str) -> None:
        """Set it, unless it is set already or there is no value."""
        if value is not None and key not in self.values:
            self.values[key] = value
            self.origins[key] = origin


def model_config(
    *,
    server: ServerConfig,
    name: str,
    version: str,
    default_workers: int,
    at_startup: bool,
    batch_size: int | None = None,
    max_batch_delay_s: float | None = None,
    response_timeout_s: float | None = None,
    startup_timeout_s: float | None = None,
    initial_workers: int | None = None,
    yaml_text: str | None = None,
    yaml_name: str = "model-config.yaml",
) -> LoadedModelConfig:
    """Decide every setting of a model version.

    Args:
        default_workers: at start-up, how many workers a model gets that names no number.
        at_startup: whether the server loads the model by itself; ``initial_workers`` then is the command line's
            wish and goes before everything.
        batch_size, max_batch_delay_s, response_timeout_s, startup_timeout_s, initial_workers: what the register call
            gives; None: nothing.
        yaml_text: the archive's configuration file; None: it has none.
        yaml_name: name of that file, for messages.

    Raises:
        BadRequest: the register call gives a number that is out of range.
        InvalidModel: the file is not YAML, or not a mapping.
    """
    warnings: list[str] = []
    document = None if yaml_text is None else _parse_yaml(yaml_text, yaml_name)
    in_yaml = _read(document or {}, yaml_name, warnings)
    in_property = _read_property(server, name, version, warnings)
    settings = _Settings()

    call_or_command = "command line" if at_startup else "registration"
    for key, value in (("batchSize", batch_size), ("maxBatchDelay", max_batch_delay_s)):
        settings.offer(key, value, call_or_command)
        settings.offer(key, in_yaml.pop(key, None), yaml_name)
        settings.offer(key, in_property.get(key), "models property")

    for key, value, fallback_s, fallback_key in (
        ("responseTimeout", response_timeout_s, server.default_response_timeout_s, "default_response_timeout"),
        ("startupTimeout", startup_timeout_s, server.default_startup_timeout_s, "default_startup_timeout"),
    ):
        if document is not None:
            settings.offer(key, in_yaml.pop(key, None), yaml_name)
            settings.offer(key, _BUILT_IN_TIMEOUT_S, f"default of {yaml_name}")
        settings.offer(key, in_property.get(key), "models property")
        settings.offer(key, value, call_or_command)
        settings.offer(key, fallback_s, fallback_key)

    workers = _Settings()
    if at_startup and initial_workers is not None:
        _offer_workers(workers, initial_workers, "command line")
    _offer_yaml_workers(workers, in_yaml.pop("minWorkers", None), in_yaml.pop("maxWorkers", None), yaml_name, warnings)
    if at_startup:
        for key in ("minWorkers", "maxWorkers"):
            workers.offer(key, in_property.get(key), "models property")
        _offer_workers(workers, default_workers, "default_workers_per_model")
    elif initial_workers is not None:
        _offer_workers(workers, max(initial_workers, 0), "registration")
    else:
        _offer_workers(workers, server.default_workers_per_model, "default_workers_per_model")
    workers.values["maxWorkers"] = max(workers.values["minWorkers"], workers.values["maxWorkers"])

    settings.offer("jobQueueSize", in_yaml.pop("jobQueueSize", None), yaml_name)
    settings.offer("jobQueueSize", server.job_queue_size, "job_queue_size")
    _offer_parallel_level(settings, in_yaml, in_property, yaml_name, warnings)
    for key, value in in_yaml.items():
        settings.offer(key, value, yaml_name)

    values = settings.values | workers.values
    origins = dict.fromkeys(MODEL_SETTINGS, "default") | settings.origins | workers.origins
    return LoadedModelConfig(_assemble(values, document or {}), origins, warnings)


def apply_scaling(
    config: ModelConfig,
    *,
    batch_size: int | None = None,
    max_batch_delay_s: float | None = None,
    response_timeout_s: float | None = None,
) -> ModelConfig:
    """The configuration with the settings that a scale call gives; None leaves one as it is.

    Raises:
        BadRequest: a number is out of range.
    """
    batching = config.batching
    try:
        return replace(
            config,
            batching=replace(
                batching,
                batch_size=batching.batch_size if batch_size is None else batch_size,
                max_batch_delay_s=batching.max_batch_delay_s if max_batch_delay_s is None else max_batch_delay_s,
            ),
            response_timeout_s=config.response_timeout_s if response_timeout_s is None else response_timeout_s,
        )
    except ConfigError as error:
        raise BadRequest(str(error)) from error


def _parse_yaml(text: str, name: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}, line {mark.line + 1}" if mark else name
        raise InvalidModel(f"{place}: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidModel(f"{name}: not YAML: {str(error).splitlines()[0]}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidModel(f"{name}, line 1: must be a mapping of settings, not a {type(document).__name__}")
    return document


def _read(document: Mapping[str, Any], name: str, warnings: list[str]) -> dict[str, Any]:
    """The values of a YAML file, by key; those that cannot be used are left out, with a warning."""
    values = {}
    for key, setting in MODEL_SETTINGS.items():
        if key not in document:
            continue
        if setting.without_effect:
            warnings.append(f"{name}: {key} has no effect: {setting.without_effect}")
        try:
            values[key] = setting.type.parse(document[key])
        except ValueError as error:
            warnings.append(f"{name}: {key}: {document[key]!r} {error}; ignored")
    return values


def _read_property(server: ServerConfig, name: str, version: str, warnings: list[str]) -> dict[str, Any]:
    """What the ``models`` property says of this version; only numbers greater than 0 count."""
    values = {}
    for key, value in server.model_defaults.get(name, {}).get(version, {}).items():
        setting = MODEL_SETTINGS.get(key)
        if setting is None or not setting.is_model_property:
            continue
        if type(value) is int and value > 0:
            values[key] = setting.type.parse(value)
        else:
            warnings.append(f"models property: {name} {version}: {key}: {value!r} is not a number above 0; ignored")
    return values


def _offer_workers(settings: _Settings, number: int, origin: str) -> None:
    settings.offer("minWorkers", number, origin)
    settings.offer("maxWorkers", number, origin)


def _offer_yaml_workers(
    settings: _Settings, minimum: int | None, maximum: int | None, origin: str, warnings: list[str]
) -> None:
    """Both numbers count, or neither."""
    if minimum is None and maximum is None:
        return
    if minimum is None or maximum is None or maximum < minimum:
        warnings.append(f"{origin}: minWorkers {minimum} and maxWorkers {maximum} do not make a range; both ignored")
        return
    settings.offer("minWorkers", minimum, origin)
    settings.offer("maxWorkers", maximum, origin)


def _offer_parallel_level(
    settings: _Settings, in_yaml: dict[str, Any], in_property: Mapping[str, Any], origin: str, warnings: list[str]
) -> None:
    """Devices of each worker: ``torchrun`` goes before ``parallelLevel``, and neither counts without a type."""
    torchrun = in_yaml.pop("torchrun", None)
    level = in_yaml.pop("parallelLevel", None)
    if torchrun is not None:
        processes = torchrun.get("nproc-per-node", 1)
        if type(processes) is int and processes > 0:
            level = processes
        else:
            warnings.append(f"{origin}: torchrun: nproc-per-node: {processes!r} is not a number above 0; ignored")
    if "parallelType" not in in_yaml:
        return
    settings.offer("parallelLevel", level, origin)
    settings.offer("parallelLevel", in_property.get("parallelLevel"), "models property")


def _assemble(values: Mapping[str, Any], document: Mapping[str, Any]) -> ModelConfig:
    parts: dict[str, dict[str, Any]] = {"": {}, "batching": {}, "placement": {}}
    for key, value in values.items():
        owner, _, name = MODEL_SETTINGS[key].field.rpartition(".")
        if name:
            parts[owner][name] = value
    try:
        return ModelConfig(
            **parts[""],
            batching=BatchingConfig(**parts["batching"]),
            placement=PlacementConfig(**parts["placement"]),
            handler_settings=document,
        )
    except ConfigError as error:  # only the call's numbers have not been checked yet
        raise BadRequest(str(error)) from error
