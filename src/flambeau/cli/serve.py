"""``flambeau serve``: start the server."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flambeau.archive.described import exists
from flambeau.cli.config_report import print_config
from flambeau.cli.failures import UsageProblem, print_warnings
from flambeau.cli.ready_file import ReadyFile
from flambeau.config.server import MetricsMode
from flambeau.config.settings import SERVER_SETTINGS
from flambeau.config.sources import CONFIG_FILE, HOST, LoadedConfig, load_server_config
from flambeau.version import __version__

if TYPE_CHECKING:
    from flambeau.request import ModelRef
    from flambeau.server import BoundAddresses

_NAMED_MODEL = re.compile(r"(?P<name>[\w.\-]+)=(?P<path>.+)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://.*")
_ADDRESSES = "Addresses"
_MODELS = "Models"
_CONFIGURATION = "Configuration"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve", no_args_is_help=False)(serve)


def _setting(key: str, *names: str, panel: str, metavar: str | None = None) -> typer.models.OptionInfo:
    """An option whose help is that of the setting it sets."""
    option: typer.models.OptionInfo = typer.Option(
        *names, help=SERVER_SETTINGS[key].help.replace("`", ""), rich_help_panel=panel, metavar=metavar
    )
    return option


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Archive, folder, pipeline description (YAML, TOML) or file.py:object, here or in the model store; "
            "name=path names it.",
        ),
    ] = None,
    model_store: Annotated[str | None, _setting("model_store", "--model-store", panel=_MODELS, metavar="DIR")] = None,
    workflow_store: Annotated[
        str | None, _setting("workflow_store", "--workflow-store", panel=_MODELS, metavar="DIR")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Workers of each model of the command line.", rich_help_panel=_MODELS),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Largest batch of each model of the command line.", rich_help_panel=_MODELS),
    ] = None,
    max_batch_delay: Annotated[
        float | None,
        typer.Option(min=0, help="Milliseconds that a batch may wait to fill.", rich_help_panel=_MODELS),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Host of all addresses.", rich_help_panel=_ADDRESSES)] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", "--inference-port", help="Port for predictions; 0: any.", rich_help_panel=_ADDRESSES),
    ] = None,
    management_port: Annotated[
        int | None, typer.Option(help="Port for management; 0: any.", rich_help_panel=_ADDRESSES)
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Port for metrics; 0: any.", rich_help_panel=_ADDRESSES)
    ] = None,
    grpc: Annotated[bool | None, _setting("enable_grpc", "--grpc/--no-grpc", panel=_ADDRESSES)] = None,
    grpc_port: Annotated[int | None, _setting("grpc_inference_port", "--grpc-port", panel=_ADDRESSES)] = None,
    grpc_management_port: Annotated[
        int | None, _setting("grpc_management_port", "--grpc-management-port", panel=_ADDRESSES)
    ] = None,
    inference_address: Annotated[
        str | None, _setting("inference_address", "--inference-address", panel=_ADDRESSES, metavar="URL")
    ] = None,
    management_address: Annotated[
        str | None, _setting("management_address", "--management-address", panel=_ADDRESSES, metavar="URL")
    ] = None,
    metrics_address: Annotated[
        str | None, _setting("metrics_address", "--metrics-address", panel=_ADDRESSES, metavar="URL")
    ] = None,
    enable_model_api: Annotated[bool, _setting("enable_model_api", "--enable-model-api", panel=_CONFIGURATION)] = False,
    token_auth: Annotated[
        bool | None,
        typer.Option(
            "--token-auth/--disable-token-auth",
            help="Ask every caller for a token, or none. Default: ask, unless every address is loopback.",
            rich_help_panel=_CONFIGURATION,
        ),
    ] = None,
    no_access_log: Annotated[
        bool, typer.Option("--no-access-log", help="Do not log requests.", rich_help_panel=_CONFIGURATION)
    ] = False,
    log_dir: Annotated[str | None, _setting("log_dir", "--log-dir", panel=_CONFIGURATION, metavar="DIR")] = None,
    metrics_mode: Annotated[
        MetricsMode | None, _setting("metrics_mode", "--metrics-mode", panel=_CONFIGURATION)
    ] = None,
    snapshots: Annotated[
        bool | None,
        typer.Option(
            "--snapshots/--no-snapshots",
            help="Restore what was served last, and write it down after every change.",
            rich_help_panel=_CONFIGURATION,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="Properties file. Default: config.properties here, if there is one.",
            metavar="FILE",
            rich_help_panel=_CONFIGURATION,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting of the properties file; may be repeated.",
            rich_help_panel=_CONFIGURATION,
        ),
    ] = None,
    show_config: Annotated[
        bool,
        typer.Option(
            "--show-config",
            help="Print every setting, its value and origin, and leave.",
            rich_help_panel=_CONFIGURATION,
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --show-config: as JSON.", rich_help_panel=_CONFIGURATION)
    ] = False,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload",
            help="For development: serve a model anew when its files change; if it does not load, the old one stays.",
            rich_help_panel=_MODELS,
        ),
    ] = False,
    ready_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write process id and bound addresses here, as JSON, once the server listens; removed when it stops.",
            rich_help_panel=_CONFIGURATION,
        ),
    ] = None,
) -> int:
    """Serve models over HTTP and gRPC until Ctrl-C or SIGTERM."""
    cwd = Path.cwd()
    options = {
        CONFIG_FILE: config,
        "load_models": _startup_models(models, cwd) if models else None,
        "model_store": model_store,
        "workflow_store": workflow_store,
        HOST: host,
        "inference_port": port,
        "management_port": management_port,
        "metrics_port": metrics_port,
        "enable_grpc": grpc,
        "grpc_inference_port": grpc_port,
        "grpc_management_port": grpc_management_port,
        "inference_address": inference_address,
        "management_address": management_address,
        "metrics_address": metrics_address,
        "enable_model_api": enable_model_api or None,
        "disable_token_authorization": None if token_auth is None else not token_auth,
        "access_log": False if no_access_log else None,
        "log_dir": log_dir,
        "metrics_mode": None if metrics_mode is None else metrics_mode.value,
        "snapshots": snapshots,
    }
    loaded = load_server_config(
        cli={**_split_settings(settings or []), **{key: value for key, value in options.items() if value is not None}},
        environ=os.environ,
        cwd=cwd,
        use_snapshots=snapshots is True,
        defaults={"snapshots": "false"},
    )
    print_warnings(loaded.warnings)
    if show_config:
        print_config(loaded, as_json=as_json)
        return 0
    _check_models(loaded, cwd)
    overrides = {
        "initial_workers": workers,
        "batch_size": batch_size,
        "max_batch_delay_s": None if max_batch_delay is None else max_batch_delay / 1000,
    }
    return _run(
        loaded,
        {key: value for key, value in overrides.items() if value is not None},
        None if ready_file is None else ReadyFile(ready_file.absolute()),
        reloads=reload,
    )


def _run(
    loaded: LoadedConfig, model_overrides: Mapping[str, object], ready_file: ReadyFile | None, *, reloads: bool
) -> int:
    from flambeau.server import run  # here, so that --help and --show-config need not load the server

    def on_started(bound: BoundAddresses) -> None:
        if ready_file is not None:
            addresses = {name: address for name, address in bound._asdict().items() if address is not None}
            ready_file.write({f"{name}_address": str(address) for name, address in addresses.items()})
        _print_summary(loaded, bound)

    if ready_file is not None:
        ready_file.remove()  # one that a killed server left behind would speak for this one
    try:
        on_reloaded = _print_reloaded if reloads else None
        return run(loaded, model_overrides=model_overrides, on_started=on_started, on_reloaded=on_reloaded)
    finally:
        if ready_file is not None:
            ready_file.remove()


def _startup_models(models: Sequence[str], cwd: Path) -> str:
    """The models of the command line as ``load_models`` has them."""
    return ",".join(_startup_model(model, cwd) for model in models)


def _startup_model(model: str, cwd: Path) -> str:
    if "," in model:
        raise UsageProblem(f"model {model!r}: a comma separates models, so no path may have one", "rename the file")
    path = _existing(model, cwd)
    if path is not None:
        return path
    named = _NAMED_MODEL.fullmatch(model)
    if named and not _URL.fullmatch(model):
        return f"{named['name']}={_existing(named['path'], cwd) or named['path']}"
    return model


def _existing(model: str, cwd: Path) -> str | None:
    """The absolute path of a file or folder here, without the ``..`` that no model's URL may have."""
    return os.path.normpath(cwd / model) if exists(cwd / model) else None


def _split_settings(settings: Sequence[str]) -> dict[str, str]:
    """``--set`` by key."""
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageProblem(f"--set {setting}: no value", "write --set key=value")
        values[key.strip()] = value
    return values


def _check_models(loaded: LoadedConfig, cwd: Path) -> None:
    """Whether there is anything to serve, or a place to find it later."""
    config = loaded.config
    if config.workflow_store is not None and not config.workflow_store.is_dir():
        raise UsageProblem(
            f"workflow store not found: {config.workflow_store}",
            "make the folder, or name another with --workflow-store",
        )
    if config.model_store is not None:
        if not config.model_store.is_dir():
            raise UsageProblem(
                f"model store not found: {config.model_store}", "make the folder, or name another with --model-store"
            )
        return
    if config.load_all_models or not (config.startup_models or config.model_snapshot):
        raise UsageProblem("no model and no model store", "flambeau serve model.mar, or --model-store DIR")
    for model in config.startup_models:
        if not _URL.fullmatch(model.url) and not exists(cwd / model.url):
            raise UsageProblem(
                f"model not found: {model.url}",
                "name an archive, folder, pipeline description or file.py:object that exists, or say --model-store DIR",
            )


def _print_summary(loaded: LoadedConfig, bound: BoundAddresses) -> None:
    config = loaded.config
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]flambeau {__version__}[/bold] is listening. Ctrl-C stops it.")
    rows = [
        ("predictions", f"{bound.inference}"),
        ("management", f"{bound.management}"),
        ("metrics", f"{bound.metrics}"),
        ("gRPC", f"{bound.grpc_inference}, management {bound.grpc_management}" if bound.grpc_inference else "off"),
        ("models", _describe_models(loaded)),
        ("settings", f"{loaded.file or 'defaults and command line'}"),
        ("logs", f"{config.log_dir}"),
    ]
    if config.authorizes:
        rows.append(("tokens", f"{config.key_file}"))
    for label, value in rows:
        console.print(f"  {label:<12}", end="")
        console.print(value, markup=False)


def _print_reloaded(model: ModelRef, changed: Path) -> None:
    print(f"{datetime.now():%H:%M:%S} {model.name} {model.version} reloaded: {changed} has changed", flush=True)


def _describe_models(loaded: LoadedConfig) -> str:
    config = loaded.config
    if config.model_snapshot is not None:
        return "restoring those of the snapshot"
    if config.load_all_models:
        return f"loading all of {config.model_store}"
    names = ", ".join(model.name or Path(model.url).name for model in config.startup_models)
    return f"loading {names}" if names else "none yet"
