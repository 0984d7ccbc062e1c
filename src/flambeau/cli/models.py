"""``flambeau models``: the models of a running server, through its management address."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from flambeau.archive.described import exists
from flambeau.cli.client import Answer, Client, Refusal, ServerProblem, address_of, path_of
from flambeau.cli.failures import UsageProblem
from flambeau.cli.keys import find_token, hint_about_keys
from flambeau.cli.model_tables import print_description, print_models

DEFAULT_URL = "http://127.0.0.1:8081"
_LIST = "list"

Url = Annotated[str, typer.Option(help="Management address of the server.", rich_help_panel="Server")]
Token = Annotated[
    str | None,
    typer.Option(envvar="FLAMBEAU_TOKEN", help="Management key of the server.", rich_help_panel="Server"),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Key file of the server.",
        show_default="key_file.json, if it is local",
        rich_help_panel="Server",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the server's answer as JSON.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]
Version = Annotated[str | None, typer.Option(help="Version of the model.", show_default="the default one")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Largest batch.")]
MaxBatchDelay = Annotated[int | None, typer.Option(min=0, help="Milliseconds that a batch may wait to fill.")]
ResponseTimeout = Annotated[int | None, typer.Option(min=1, help="Seconds that a request may take in a worker.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until the workers are ready.")]


class _ListsByDefault(TyperGroup):
    """``flambeau models`` and ``flambeau models --json`` list."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        names_none = not args or (args[0].startswith("-") and args[0] not in self.get_help_option_names(ctx))
        if names_none and not ctx.resilient_parsing:  # which is how a shell asks what could come next
            args = [_LIST, *args]
        rest: list[str] = super().parse_args(ctx, args)
        return rest


models = typer.Typer(cls=_ListsByDefault, help="List, describe, register and scale the models of a running server.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(models, name="models")


class _Version(NamedTuple):
    """One version of a model, for the list."""

    is_default: bool
    description: dict[str, Any]


@models.command(_LIST)
def list_models(url: Url = DEFAULT_URL, token: Token = None, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """List all models, and how their workers are."""
    with _connected(url, token, key_file) as client:
        versions = [version for name in _names(client) for version in _versions(client, name)]
    if as_json:
        _print_json([{**version.description, "isDefault": version.is_default} for version in versions])
    else:
        print_models(versions)


@models.command()
def describe(
    model: Model,
    version: Version = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Describe a model: its settings, its queue, its workers, and why a worker failed."""
    with _connected(url, token, key_file) as client:
        answer = client.call("GET", path_of("models", model, version), query={"customized": True})
    (description,) = answer.document()
    if as_json:
        _print_json(description)
    else:
        print_description(description)


@models.command("register")
def register_model(
    source: Annotated[
        str, typer.Argument(metavar="URL", help="Archive: a name in the model store, a URL, or a path here.")
    ],
    name: Annotated[str | None, typer.Option(help="Name to serve it under.", show_default="the archive's")] = None,
    handler: Annotated[str | None, typer.Option(help="Handler, where the archive names none.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Workers to start.", show_default="the archive's")] = None,
    batch_size: BatchSize = None,
    max_batch_delay: MaxBatchDelay = None,
    response_timeout: ResponseTimeout = None,
    startup_timeout: Annotated[int | None, typer.Option(min=1, help="Seconds that a worker may take to load.")] = None,
    no_wait: NoWait = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Register a model and start its workers."""
    query = {
        "url": _as_the_server_sees_it(source, url),
        "model_name": name,
        "handler": handler,
        "initial_workers": workers,
        "batch_size": batch_size,
        "max_batch_delay": max_batch_delay,
        "response_timeout": response_timeout,
        "startup_timeout": startup_timeout,
        "synchronous": not no_wait,
    }
    with _connected(url, token, key_file) as client:
        _print_status(client.call("POST", path_of("models"), query=query), as_json)


@models.command()
def unregister(
    model: Model,
    version: Version = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Take a model out; what it has accepted is still answered."""
    with _connected(url, token, key_file) as client:
        _print_status(client.call("DELETE", path_of("models", model, version)), as_json)


@models.command()
def scale(
    model: Model,
    workers: Annotated[int | None, typer.Option(min=0, help="Workers to have.")] = None,
    max_workers: Annotated[
        int | None, typer.Option(min=0, help="Workers at most.", show_default="as many as --workers")
    ] = None,
    batch_size: BatchSize = None,
    max_batch_delay: MaxBatchDelay = None,
    response_timeout: ResponseTimeout = None,
    version: Version = None,
    no_wait: NoWait = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Change the number of a model's workers, or its settings, while it is served."""
    query = {
        "min_worker": workers,
        "max_worker": max_workers,
        "batch_size": batch_size,
        "max_batch_delay": max_batch_delay,
        "response_timeout": response_timeout,
    }
    if all(value is None for value in query.values()):
        raise UsageProblem("nothing to change", f"flambeau models scale {model} --workers 2")
    with _connected(url, token, key_file) as client:
        query["synchronous"] = not no_wait
        _print_status(client.call("PUT", path_of("models", model, version), query=query), as_json)


@models.command("default")
def set_default(
    model: Model,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Version that clients get who name none.")],
    url: Url = DEFAULT_URL,
    token: Token = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a version the default one."""
    with _connected(url, token, key_file) as client:
        _print_status(client.call("PUT", path_of("models", model, version, "set-default")), as_json)


@contextmanager
def _connected(url: str, token: str | None, key_file: Path | None) -> Iterator[Client]:
    """A client of the management address, whose refusals say what to do.

    Raises:
        UsageProblem: the URL or the key file cannot be used.
        ServerProblem: nobody answered, or the answer is an error.
    """
    client = Client(url, find_token("management", token=token, key_file=key_file, url=url))
    try:
        yield client
    except Refusal as refusal:
        raise _explained(refusal) from refusal
    finally:
        client.close()


def _explained(refusal: Refusal) -> ServerProblem:
    match refusal.kind:
        case "MethodNotAllowedException":
            sentence = "the server does not let clients register and unregister models"
            return ServerProblem(sentence, "start it with --enable-model-api")
        case "ResourceNotFoundException":
            hint = "--url wants the management address, which is on port 8081 by default"
            return ServerProblem(str(refusal), hint)
        case "ModelNotFoundException" | "ModelVersionNotFoundException":
            return ServerProblem(str(refusal), "flambeau models shows what is served")
        case "InvalidModelVersionException":
            return ServerProblem(str(refusal), "make another version the default first: flambeau models default")
        case "InternalServerException":
            return ServerProblem(str(refusal), "flambeau logs --kind model shows what its workers said")
    return ServerProblem(str(refusal), hint_about_keys(refusal))


def _names(client: Client) -> Iterator[str]:
    page: str | None = None
    while True:
        document = client.call("GET", path_of("models"), query={"next_page_token": page}).document()
        yield from (model["modelName"] for model in document["models"])
        page = document.get("nextPageToken")
        if page is None or not document["models"]:
            return


def _versions(client: Client, name: str) -> Iterator[_Version]:
    """All versions of a model; none if it has gone since it was listed."""
    try:
        (default,) = client.call("GET", path_of("models", name)).document()
        descriptions = client.call("GET", path_of("models", name, "all")).document()
    except Refusal as refusal:
        if refusal.status != 404:
            raise
        return
    for description in descriptions:
        yield _Version(description["modelVersion"] == default["modelVersion"], description)


def _as_the_server_sees_it(source: str, url: str) -> str:
    """A path that exists here as an absolute one, if the server is on this machine; anything else as it is."""
    path = Path.cwd() / source
    return os.path.normpath(path) if address_of(url).is_loopback and exists(path) else source


def _print_status(answer: Answer, as_json: bool) -> None:
    if as_json:
        _print_json(answer.document())
    else:
        typer.echo(answer.document()["status"])


def _print_json(document: object) -> None:
    typer.echo(json.dumps(document, indent=2))
