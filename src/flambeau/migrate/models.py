"""One archive or folder of a model store: its manifest, its settings, its code, and whether its handler loads."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flambeau.archive.manifest import Manifest
from flambeau.archive.reader import UnpackedModel, open_archive
from flambeau.config.model_settings import MODEL_SETTINGS
from flambeau.config.model_sources import LoadedModelConfig, model_config
from flambeau.config.server import ServerConfig
from flambeau.config.settings import SERVER_SETTINGS
from flambeau.errors import ServingError
from flambeau.migrate.binaries import check_binaries
from flambeau.migrate.code import check_code, missing_module
from flambeau.migrate.findings import MISSING, Finding, ModelReport, Severity, Trial
from flambeau.migrate.model_yaml import check_yaml
from flambeau.migrate.requirements import check_requirements
from flambeau.migrate.trial import try_handler
from flambeau.runtime.entry_point import BUILT_IN_PACKAGE, HandlerName, describes_pipeline

_CPP_RUNTIME = "LSP"


def examine_model(store: Path, source: str, config: ServerConfig, *, trial_timeout_s: float | None) -> ModelReport:
    """
    Args:
        source: name of an archive or folder in the store.
        config: of the server.
        trial_timeout_s: for how long its handler may load; None: it is not tried.
    """
    report = ModelReport(source=source, name=source)
    with tempfile.TemporaryDirectory(prefix="flambeau-migrate-") as unpack_root:
        try:
            model = open_archive(store / source, Path(unpack_root))
        except ServingError as error:
            report.findings.append(Finding(severity=Severity.BLOCKS, what=str(error), file=source))
            return report
        manifest = model.manifest
        report.name, report.version = manifest.model_name, manifest.model_version
        report.handler = manifest.handler or config.default_service_handler or ""
        report.findings += _check_manifest(manifest, model.directory, report.handler)
        yaml_name = manifest.config_file or ""
        try:
            yaml_text = model.config_text()
        except ServingError as error:
            yaml_text = None
            report.findings.append(Finding(severity=Severity.BLOCKS, what=str(error), file=yaml_name))
        if yaml_text is not None:
            report.findings += check_yaml(yaml_text, yaml_name)
        settings = _load_settings(model, config, yaml_text)
        report.says_workers = settings is None or settings.origins["minWorkers"] != "default_workers_per_model"
        if manifest.requirements_file is not None and not _installs(config, settings):
            report.findings += check_requirements(
                model.directory / manifest.requirements_file, manifest.requirements_file
            )
        needed = {f"{HandlerName.parse(report.handler).module}.py"} if report.handler else set()
        report.findings += check_code(model.directory, needed | {manifest.model_file or ""})
        report.findings += check_binaries(model.directory)
        is_runnable = report.handler and manifest.runtime != _CPP_RUNTIME
        if trial_timeout_s is not None and is_runnable:
            report.trial = _try(model, report.name, report.handler, config, trial_timeout_s)
            _explain(report.trial, report)
    return report


def _check_manifest(manifest: Manifest, folder: Path, handler: str) -> Iterator[Finding]:
    file = "MAR-INF/MANIFEST.json"
    if manifest.runtime == _CPP_RUNTIME:
        yield Finding(
            severity=Severity.BLOCKS,
            what="the C++ backend is not there",
            todo="write a Python handler",
            file=file,
            key="runtime",
            doc=MISSING,
        )
        return
    if not handler:
        yield Finding(
            severity=Severity.BLOCKS,
            what="it names no handler",
            todo="pack it with one, or set default_service_handler",
            file=file,
            key="handler",
            doc="docs/archives.md",
        )
        return
    name = HandlerName.parse(handler)
    is_own = describes_pipeline(handler) or any((folder / name.folder).glob(f"{name.module}.*"))
    if not is_own and not (folder / name.module).is_dir() and not _is_built_in(name.module):
        yield Finding(
            severity=Severity.BLOCKS,
            what=f"there is no handler {name.module!r}, neither in the archive nor among the ready-made ones",
            todo="put it into the archive",
            file=file,
            key="handler",
            doc=MISSING,
        )


def _load_settings(model: UnpackedModel, config: ServerConfig, text: str | None) -> LoadedModelConfig | None:
    """The settings as the server would have them; None: the YAML cannot be used."""
    try:
        return model_config(
            server=config,
            name=model.manifest.model_name,
            version=model.manifest.model_version,
            default_workers=1,
            at_startup=True,
            yaml_text=text,
            yaml_name=model.manifest.config_file or "",
        )
    except ServingError:
        return None


def _installs(config: ServerConfig, settings: LoadedModelConfig | None) -> bool:
    """Whether the server installs what the model requires."""
    for_all = config.install_py_dep_per_model and not SERVER_SETTINGS["install_py_dep_per_model"].without_effect
    for_it = settings is not None and settings.config.use_venv and not MODEL_SETTINGS["useVenv"].without_effect
    return for_all or for_it


def _try(model: UnpackedModel, name: str, handler: str, config: ServerConfig, timeout_s: float) -> Trial:
    order = {
        "model_dir": str(model.directory),
        "model_name": name,
        "handler": handler,
        "envelope": config.service_envelope,
        "limit_max_image_pixels": config.limit_max_image_pixels,
    }
    return try_handler(order, timeout_s)


def _explain(trial: Trial, report: ModelReport) -> None:
    """What a failed trial means, unless that is known from reading the model."""
    if trial.loaded or any(known.severity is Severity.BLOCKS for known in report.findings):
        return
    file, _, line = trial.place.partition(":")
    number = int(line) if line else None
    if trial.missing_module:
        finding = missing_module(trial.missing_module, file=file, line=number)
    else:
        finding = Finding(
            severity=Severity.BLOCKS,
            what=f"its handler does not load: {trial.problem}",
            todo="flambeau debug shows the whole traceback",
            file=file,
            line=number,
        )
    if all(known.what != finding.what for known in report.findings):
        report.findings.append(finding)


def _is_built_in(module: str) -> bool:
    try:
        return importlib.util.find_spec(f"{BUILT_IN_PACKAGE}.{module}") is not None
    except (ImportError, ValueError):
        return False
