"""Start and stop a server from a program, such as a notebook."""

import queue
import subprocess
import sys
import threading

MANAGEMENT_URL = "http://localhost:8081/models"
KEPT_LINES = 1000


def start(
    model_store=None,
    snapshot_file=None,
    no_config_snapshots=False,
    plugin_folder=None,
    disable_token=False,
    models=None,
    enable_model_api=False,
):
    """Stop the server that runs, if any, start one with these options of ``torchserve``, and wait until it listens.

    Args:
        models: as ``--models`` takes them; several in a list.

    Returns:
        A queue of what the server prints from then on, as lines; the oldest 1000 that nobody takes are kept. It ends
        with None.

    Raises:
        RuntimeError: the server ended before it listened; the message is what it printed.
    """
    stop()
    named = [models] if isinstance(models, str) else list(models or ())
    arguments = ["--start", "--foreground"]
    arguments += ["--model-store", str(model_store)] if model_store else []
    arguments += ["--ts-config", str(snapshot_file)] if snapshot_file else []
    arguments += ["--plugins-path", str(plugin_folder)] if plugin_folder else []
    arguments += ["--models", *named] if named else []
    arguments += ["--no-config-snapshots"] if no_config_snapshots else []
    arguments += ["--disable-token-auth"] if disable_token else []
    arguments += ["--enable-model-api"] if enable_model_api else []
    server = subprocess.Popen(
        [*_torchserve(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    printed = []
    for line in server.stdout:
        print(line.rstrip())
        printed.append(line)
        if "Model server started" in line:
            break
    else:
        with server:
            pass
        raise RuntimeError("the server did not start:\n" + "".join(printed))
    lines = queue.Queue()
    threading.Thread(target=_pass_on, args=(server, lines), daemon=True).start()
    return lines


def stop(wait=True):
    """Stop the server that runs on this machine, if any.

    Args:
        wait: whether to return only when it has ended.
    """
    subprocess.run([*_torchserve(), "--stop", *(["--foreground"] if wait else [])], check=False)


def register_model(model_name, url):
    """Register an archive with one worker, and wait until it is ready; returns the response."""
    return register_model_with_params(
        {"model_name": model_name, "url": url, "initial_workers": "1", "synchronous": "true"}
    )


def register_model_with_params(params):
    """Register a model with these parameters of the management API, on port 8081; returns the response of requests."""
    import requests

    return requests.post(MANAGEMENT_URL, params=params)


def _torchserve():
    return [sys.executable, "-m", "flambeau.cli.torchserve"]


def _pass_on(server, lines):
    with server:
        for line in server.stdout:
            print(line.rstrip())
            if lines.qsize() < KEPT_LINES:
                lines.put(line)
    lines.put(None)


__all__ = ["register_model", "register_model_with_params", "start", "stop"]
