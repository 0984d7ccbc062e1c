"""``config.properties``, key by key, and the files that it names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from flambeau.config.properties import ENCODING, Property, parse_properties
from flambeau.config.server import ServerConfig
from flambeau.config.settings import SERVER_SETTINGS, SNAPSHOT_NOTE
from flambeau.config.values import BOOLEAN
from flambeau.errors import ConfigError
from flambeau.metrics.catalog import load_catalog
from flambeau.migrate.findings import CONFIGURATION, DIFFERENCES, MISSING, Finding, Severity

_PLACEHOLDER = re.compile(r"\$\$([^$]+)\$\$")
_FILES = ("certificate_file", "private_key_file", "metrics_config")
_MISSED = {"keystore", "plugins_path", "install_py_dep_per_model", "system_metrics_cmd", "workflow_store"}
"""Keys that, where they have no effect, leave something undone that the installation counts on."""


def read_properties(path: Path) -> list[Property]:
    """
    Raises:
        ConfigError: it cannot be read, or is no properties file.
    """
    try:
        text = path.read_bytes().decode(ENCODING)
    except OSError as error:
        raise ConfigError("--config", path, (error.strerror or str(error)).lower()) from error
    return parse_properties(text, path.name)


def check_settings(properties: list[Property], file: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What is to be said of each key."""
    for key, value, line in properties:
        setting = SERVER_SETTINGS.get(key)
        if setting is None:
            close = difflib.get_close_matches(key, SERVER_SETTINGS, n=1, cutoff=0.7)
            yield Finding(
                severity=Severity.NOTE,
                what="no such setting: it is ignored, as TorchServe ignored it",
                todo=f"did you mean {close[0]}?" if close else "",
                file=file,
                line=line,
                key=key,
                doc=CONFIGURATION,
            )
            continue
        unset = [name for name in _PLACEHOLDER.findall(value) if name not in environ]
        if unset:
            yield Finding(
                severity=Severity.CHANGE,
                what=f"the environment variable {unset[0]} is not set here, and the server does not start without it",
                todo=f"set {unset[0]} where the server is started",
                file=file,
                line=line,
                key=key,
                doc=CONFIGURATION,
            )
        elif setting.without_effect:
            if setting.without_effect is not SNAPSHOT_NOTE and not _is_off(value):
                yield _without_effect(key, line, file, setting.without_effect)
        else:
            try:
                setting.type.parse(_replaced(value, environ))
            except ValueError as error:
                what = f"{value!r} {error}, and the server does not start"
                yield Finding(severity=Severity.BLOCKS, what=what, file=file, line=line, key=key, doc=CONFIGURATION)
            else:
                remark = setting.type.remark(value)
                if remark:
                    yield Finding(severity=Severity.NOTE, what=remark, file=file, line=line, key=key, doc=CONFIGURATION)


def usable_settings(properties: list[Property], environ: Mapping[str, str]) -> dict[str, str]:
    """The settings without those that keep a server from starting."""
    usable = {}
    for key, value, _ in properties:
        setting = SERVER_SETTINGS.get(key)
        if setting is None or any(name not in environ for name in _PLACEHOLDER.findall(value)):
            continue
        try:
            setting.type.parse(_replaced(value, environ))
        except ValueError:
            continue
        usable[key] = value
    return usable


def check_files(config: ServerConfig, lines: Mapping[str, int], file: str) -> Iterator[Finding]:
    """Files that settings name, and whether the metrics file can be used.

    Args:
        lines: of the properties file, by key.
    """
    for key in _FILES:
        path = getattr(config, key)
        if path is None:
            continue
        if not path.is_file():
            yield Finding(
                severity=Severity.BLOCKS,
                what=f"there is no file {path}",
                todo="correct it; paths are relative to the folder that the server is started in",
                file=file,
                line=lines.get(key),
                key=key,
            )
        elif key == "metrics_config":
            try:
                load_catalog(path)
            except ConfigError as error:
                yield Finding(severity=Severity.BLOCKS, what=str(error), file=path.name, key=key, doc="docs/metrics.md")


def check_behaviour(config: ServerConfig) -> Iterator[Finding]:
    """What a server with these settings does otherwise than TorchServe."""
    if config.metrics_mode.value == "log" and not config.metrics_every_update:
        yield Finding(
            severity=Severity.DIFFERS,
            what="the metrics logs have one line a second for each series, with counters added up",
            todo="metrics_every_update=true writes a line for each update",
            key="metrics_mode",
            doc=DIFFERENCES,
        )
    if config.key_file.exists():
        yield Finding(
            severity=Severity.NOTE,
            what="the server makes new keys at each start, and deletes the file when it stops: clients read them anew",
            file=config.key_file.name,
            doc=DIFFERENCES,
        )


def _without_effect(key: str, line: int, file: str, reason: str) -> Finding:
    is_missed = key in _MISSED
    return Finding(
        severity=Severity.CHANGE if is_missed else Severity.DIFFERS,
        what=f"it has no effect: {reason}",
        file=file,
        line=line,
        key=key,
        doc=MISSING if is_missed else CONFIGURATION,
    )


def _replaced(value: str, environ: Mapping[str, str]) -> str:
    """With the environment's variables in the place of their names."""
    return _PLACEHOLDER.sub(lambda match: environ[match[1]], value)


def _is_off(value: str) -> bool:
    """Whether a key without an effect asks for nothing."""
    return not value or (value.lower() in ("true", "false") and not BOOLEAN.parse(value))
