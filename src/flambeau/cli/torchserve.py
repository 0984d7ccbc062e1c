"""The ``torchserve`` command: TorchServe's options, messages and exit codes over Flambeau's server.

Starting in the background runs this same command once more in a session of its own, with ``--foreground``. Either
process writes the pid file, with the same content, so ``--stop`` works from the moment that the first has returned.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from flambeau.cli.failures import EXIT_FAILURE, print_warnings, report
from flambeau.cli.pidfile import PidFile
from flambeau.cli.torchserve_dump import TORCHSERVE_VERSION, configuration_dump
from flambeau.config.sources import CONFIG_FILE, LoadedConfig, load_server_config
from flambeau.errors import ConfigError, FlambeauError
from flambeau.version import __version__

if TYPE_CHECKING:
    from flambeau.server import BoundAddresses

STOP_TIMEOUT_S = 60.0

_DEFAULTS = {"console_log": "true", "snapshots": "true", "disable_token_authorization": "false"}
"""Where TorchServe's defaults differ from Flambeau's."""


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    pid_file = PidFile(Path(tempfile.gettempdir()) / ".model_server.pid")
    if options.version:
        print(f"TorchServe Version is {TORCHSERVE_VERSION} (Flambeau {__version__})")
        return 0
    if options.stop:
        return _stop(pid_file, wait=options.foreground)
    running = pid_file.read()
    if running is not None and running.pid != os.getpid():
        print("TorchServe is already running, please use torchserve --stop to stop TorchServe.")
        return EXIT_FAILURE
    if running is None and pid_file.path.exists():
        print("Removing orphan pid file.")
        pid_file.remove()
    try:
        problem = _missing_path(options)
        if problem is None:
            loaded = _load(options)
            problem = _missing_model_store(loaded)
        if problem is not None:
            print(problem)
            return EXIT_FAILURE
        if options.foreground:
            return _serve(loaded, pid_file)
        pid_file.write(_start_in_background(arguments))
        return 0
    except ConfigError as error:
        print(f"Invalid configuration: {error}", file=sys.stderr)
        return EXIT_FAILURE
    except (FlambeauError, OSError) as error:
        report(error)
        return EXIT_FAILURE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="torchserve", description="Flambeau, with the command line of TorchServe")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("-v", "--version", action="store_true", help="print the version and leave")
    action.add_argument("--start", action="store_true", help="start the server (the default)")
    action.add_argument("--stop", action="store_true", help="stop the server")
    parser.add_argument("--ts-config", metavar="FILE", help="properties file")
    parser.add_argument("--model-store", metavar="DIR", help="folder of the archives")
    parser.add_argument("--workflow-store", metavar="DIR", help="folder of the archives of workflows")
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="archives to load: file, name=file, or all")
    parser.add_argument("--log-config", metavar="FILE", help="accepted; logs have TorchServe's files and formats")
    parser.add_argument("--cpp-log-config", metavar="FILE", help="accepted; there is no C++ backend")
    parser.add_argument("--foreground", action="store_true", help="do not return until the server stops")
    parser.add_argument(
        "--no-config-snapshots", "--ncs", action="store_true", help="neither restore nor write snapshots"
    )
    parser.add_argument("--plugins-path", "--ppath", metavar="DIRS", help="accepted; plug-ins are Java archives")
    parser.add_argument("--disable-token-auth", "--dt", action="store_true", help="ask callers for no token")
    parser.add_argument("--enable-model-api", action="store_true", help="let clients register and unregister models")
    return parser


def _load(options: argparse.Namespace) -> LoadedConfig:
    given = {
        CONFIG_FILE: options.ts_config,
        "model_store": options.model_store,
        "workflow_store": options.workflow_store,
        "load_models": ",".join(options.models) if options.models else None,
        "disable_token_authorization": options.disable_token_auth or None,
        "enable_model_api": options.enable_model_api or None,
        "snapshots": False if options.no_config_snapshots else None,
    }
    return load_server_config(
        cli={key: value for key, value in given.items() if value is not None},
        environ=os.environ,
        cwd=Path.cwd(),
        use_snapshots=not options.no_config_snapshots,
        defaults=_DEFAULTS,
    )


def _missing_path(options: argparse.Namespace) -> str | None:
    """The first path of the command line that does not exist, as TorchServe says it."""
    config = os.environ.get("TS_CONFIG_FILE") or options.ts_config
    temp_dir = os.environ.get("TEMP")
    if temp_dir and not Path(temp_dir).is_dir():
        return f"Invalid temp directory: {temp_dir}"
    for option, path in (("--ts-config", config), ("--log-config", options.log_config)):
        if path and not Path(path).is_file():
            return f"{option} file not found: {path}"
    if options.workflow_store and not Path(options.workflow_store).is_dir():
        return f"--workflow-store directory not found: {options.workflow_store}"
    if options.cpp_log_config and not Path(options.cpp_log_config).is_file():
        return f"--cpp-log-config file not found: {options.cpp_log_config}"
    return None


def _missing_model_store(loaded: LoadedConfig) -> str | None:
    model_store = loaded.config.model_store
    if model_store is None:
        return "Missing mandatory parameter --model-store"
    return None if model_store.is_dir() else f"--model-store directory not found: {model_store}"


def _start_in_background(arguments: Sequence[str]) -> int:
    """Start the server in a session of its own, on this console; returns its process id."""
    command = [sys.executable, "-m", "flambeau.cli.torchserve", *arguments, "--foreground"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True).pid


def _serve(loaded: LoadedConfig, pid_file: PidFile) -> int:
    from flambeau.server import run as run_server  # here, so that --stop and --version need not load the server

    pid_file.write(os.getpid())
    print_warnings(loaded.warnings)
    print(configuration_dump(loaded), flush=True)
    try:
        return run_server(loaded, model_overrides={}, on_started=_announce)
    finally:
        running = pid_file.read()
        if running is not None and running.pid == os.getpid():
            pid_file.remove()


def _announce(bound: BoundAddresses) -> None:
    print("Model server started.", flush=True)


def _stop(pid_file: PidFile, *, wait: bool) -> int:
    process = pid_file.read()
    if process is None:
        print("TorchServe is not currently running.")
        pid_file.remove()
        return 0
    try:
        process.terminate()
        if wait:
            process.wait(STOP_TIMEOUT_S)
    except psutil.TimeoutExpired:
        print("Stopping TorchServe took too long.")
        return EXIT_FAILURE  # and the pid file stays: the server still runs
    except psutil.NoSuchProcess:
        pass  # it ended by itself just now, which is what was asked for
    except psutil.AccessDenied:
        print(f"TorchServe (process {process.pid}) belongs to another user.", file=sys.stderr)
        return EXIT_FAILURE
    print("TorchServe has stopped.")
    pid_file.remove()
    Path("key_file.json").unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    main()
