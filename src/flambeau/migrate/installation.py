"""A whole installation: the properties file, what lies beside it, and every model of the store."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flambeau.archive.described import exists
from flambeau.archive.store import ModelStore, is_remote
from flambeau.config.properties import ENCODING, format_properties
from flambeau.config.server import ServerConfig
from flambeau.config.sources import CONFIG_FILE, load_server_config
from flambeau.errors import ConfigError
from flambeau.migrate.findings import CONFIGURATION, DIFFERENCES, Finding, ModelReport, Report, Severity
from flambeau.migrate.models import examine_model
from flambeau.migrate.settings import check_behaviour, check_files, check_settings, read_properties, usable_settings
from flambeau.migrate.snapshots import check_snapshots
from flambeau.migrate.workflows import check_workflows


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What to read."""

    store: Path
    properties: Path | None = None
    """None: there is no properties file."""
    cwd: Path
    """The folder that the server is started in: relative paths of the properties file start there."""


def model_names(store: Path) -> list[str]:
    """The archives and folders of a store.

    Raises:
        OSError: it cannot be read.
    """
    return ModelStore(store, store, (), allow_private_urls=False).list_all()


def examine(
    installation: Installation, *, trial_timeout_s: float | None, on_model: Callable[[str], None] = lambda name: None
) -> Report:
    """Read everything, and try each handler.

    Args:
        trial_timeout_s: for how long each may load; None: none is tried.
        on_model: told the name of each archive or folder before it is looked at.

    Raises:
        ConfigError: the properties file cannot be read, or is none.
        OSError: the store cannot be read.
    """
    store, file = installation.store, installation.properties
    report = Report(
        store=str(store),
        config="" if file is None else str(file),
        python=f"{platform.python_version()}, {sys.executable}",
    )
    config = ServerConfig(model_store=store)
    lines: dict[str, int] = {}
    if file is not None:
        properties = read_properties(file)
        lines = {key: line for key, _, line in properties}
        report.findings += check_settings(properties, file.name, os.environ)
        try:
            config = _load_config(installation, usable_settings(properties, os.environ))
        except ConfigError as error:
            report.findings.append(Finding(severity=Severity.BLOCKS, what=str(error), doc=CONFIGURATION))
        report.findings += check_files(config, lines, file.name)
    report.findings += check_behaviour(config)
    report.findings += _check_startup_models(config, store, file, lines)
    report.findings += check_snapshots(config.log_dir / "config", store)
    report.findings += check_workflows(config.workflow_store or store, store)
    for name in model_names(store):
        on_model(name)
        report.models.append(examine_model(store, name, config, trial_timeout_s=trial_timeout_s))
    report.findings += _check_workers(config, report.models)
    report.findings += _check_names(report.models)
    report.findings += _check_model_defaults(config, report.models, file, lines)
    return report


def _load_config(installation: Installation, settings: Mapping[str, str]) -> ServerConfig:
    """
    Raises:
        ConfigError: settings that are right each by itself do not go together.
    """
    with tempfile.TemporaryDirectory(prefix="flambeau-migrate-") as folder:
        file = Path(folder) / "config.properties"
        file.write_text(format_properties(settings), encoding=ENCODING)
        return load_server_config(
            cli={CONFIG_FILE: str(file), "model_store": str(installation.store)},
            environ={name: value for name, value in os.environ.items() if name != "TS_CONFIG_FILE"},
            cwd=installation.cwd,
            use_snapshots=False,
        ).config


def _check_startup_models(
    config: ServerConfig, store: Path, file: Path | None, lines: dict[str, int]
) -> Iterator[Finding]:
    for model in config.startup_models:
        if is_remote(model.url) or exists(store / model.url.lstrip("/")) or exists(Path(model.url)):
            continue
        yield Finding(
            severity=Severity.CHANGE,
            what=f"there is no {model.url} in the store",
            todo="put it there, or take it out of load_models",
            file=file.name if file else "",
            line=lines.get("load_models"),
            key="load_models",
        )


def _check_workers(config: ServerConfig, models: Sequence[ModelReport]) -> Iterator[Finding]:
    silent = [model.source for model in models if not model.says_workers]
    if silent and not config.default_workers_per_model:
        yield Finding(
            severity=Severity.DIFFERS,
            what=f"{', '.join(silent)}: no number of workers is set; as many start as fill the cores, not one a core",
            todo="set default_workers_per_model, or minWorkers and maxWorkers in a model's YAML",
            key="default_workers_per_model",
            doc=DIFFERENCES,
        )


def _check_names(models: Sequence[ModelReport]) -> Iterator[Finding]:
    """Models of which only one can be served."""
    counts = Counter((model.name, model.version) for model in models)
    for (name, version), count in counts.items():
        if count > 1:
            sources = ", ".join(model.source for model in models if (model.name, model.version) == (name, version))
            yield Finding(
                severity=Severity.NOTE,
                what=f"{sources} are all {name} {version}: with load_models=all the first of them is served",
            )


def _check_model_defaults(
    config: ServerConfig, models: Sequence[ModelReport], file: Path | None, lines: dict[str, int]
) -> Iterator[Finding]:
    known = {(model.name, model.version) for model in models}
    for name, versions in config.model_defaults.items():
        for version in versions:
            if (name, version) not in known:
                yield Finding(
                    severity=Severity.NOTE,
                    what=f"it has settings for {name} {version}, which is not in the store",
                    file=file.name if file else "",
                    line=lines.get("models"),
                    key="models",
                )
