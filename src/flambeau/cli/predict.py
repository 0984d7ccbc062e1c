"""``flambeau predict``: ask a model of a running server."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flambeau.cli.client import Answer, Client, Refusal, path_of
from flambeau.cli.display import console, harmless, part_writer, show_answer, write_raw
from flambeau.cli.failures import EXIT_FAILURE, UsageProblem, print_error
from flambeau.cli.inputs import Input, gather_inputs
from flambeau.cli.keys import find_token, hint_about_keys
from flambeau.cli.latency import summarize

DEFAULT_URL = "http://127.0.0.1:8080"
_SUFFIXES = {"application/json": ".json", "text/plain": ".txt"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict", no_args_is_help=True)(predict)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of one request."""

    asked: Input
    result: Answer | Refusal


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE", help="What to send, one request each; - is standard input.")
    ] = None,
    data: Annotated[str | None, typer.Option("-d", "--data", metavar="TEXT", help="Send this text.")] = None,
    json_value: Annotated[str | None, typer.Option("--json", metavar="JSON", help="Send this JSON value.")] = None,
    version: Annotated[str | None, typer.Option(help="Version of the model.", show_default="the default one")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Ask for an explanation instead.")] = False,
    content_type: Annotated[
        str | None, typer.Option(help="Media type of what is sent.", show_default="guessed from the file's name")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="PATH", help="Write the answer to this file; of several, to a folder."),
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, max=256, help="Requests at a time.")] = 4,
    repeats: Annotated[
        int, typer.Option("--repeat", min=1, metavar="N", help="Send everything N times, and say how long it took.")
    ] = 1,
    url: Annotated[str, typer.Option(help="Inference address of the server.")] = DEFAULT_URL,
    token: Annotated[str | None, typer.Option(envvar="FLAMBEAU_TOKEN", help="Inference key of the server.")] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Key file of the server.", show_default="key_file.json, if it is local"),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, metavar="SECONDS", help="Longest wait.", show_default="the server's")
    ] = None,
) -> int:
    """Ask a model of a running server, and print its answers.

    A terminal shows JSON and text in a readable form. A file or a pipe gets the answer's bytes; of several answers, a
    JSON object in a line each.
    """
    inputs = gather_inputs(files or [], text=data, json_text=json_value, content_type=content_type)
    if not inputs:
        raise UsageProblem("nothing to send", "name a FILE (- is standard input), or say -d TEXT or --json JSON")
    secret = find_token("inference", token=token, key_file=key_file, url=url)
    path = path_of("explanations" if explain else "predictions", model, version)
    printer = _printer(inputs, output)
    with closing(_Sender(lambda: Client(url, secret, timeout), path)) as sender:
        if len(inputs) == repeats == 1:
            on_part = None if output is not None else part_writer() if sys.stdout.isatty() else write_raw
            return _report(sender.send(inputs[0], on_part), printer, is_alone=True)
        return _send_all(sender, inputs, repeats, parallel, printer)


class _Sender:
    """Sends inputs from several threads, with a connection each."""

    def __init__(self, connect: Callable[[], Client], path: str) -> None:
        self._connect = connect
        self._path = path
        self._own = threading.local()
        self._clients: list[Client] = []

    def send(self, asked: Input, on_part: Callable[[bytes], None] | None = None) -> _Outcome:
        """
        Raises:
            ServerProblem: nobody answered.
            OSError: the input cannot be read any more.
        """
        client: Client | None = getattr(self._own, "client", None)
        if client is None:
            client = self._own.client = self._connect()
            self._clients.append(client)
        body = asked.read()
        try:
            answer = client.call("POST", self._path, body=body, content_type=asked.content_type, on_part=on_part)
        except Refusal as refusal:
            return _Outcome(asked, refusal)
        return _Outcome(asked, answer)

    def abort(self) -> None:
        """End the calls that are under way."""
        for client in self._clients:
            client.abort()

    def close(self) -> None:
        """Close the connections, when no call is under way any more."""
        for client in self._clients:
            client.close()


def _send_all(sender: _Sender, inputs: Sequence[Input], repeats: int, parallel: int, printer: _Printer) -> int:
    """Send everything, print each input's first answer, and what it took. Returns the exit code."""
    count = len(inputs) * repeats
    seconds: list[float] = []
    code = 0
    executor = ThreadPoolExecutor(parallel, thread_name_prefix="predict")
    started_at = perf_counter()
    try:
        with _progress_bar(count) as advance:
            outcomes = executor.map(sender.send, chain.from_iterable(repeat(inputs, repeats)))
            for number, outcome in enumerate(outcomes):
                advance()
                if isinstance(outcome.result, Answer):
                    seconds.append(outcome.result.seconds)
                if number < len(inputs):
                    code = _report(outcome, printer, is_alone=len(inputs) == 1) or code
                elif isinstance(outcome.result, Refusal):
                    code = EXIT_FAILURE
    except BaseException:
        sender.abort()
        executor.shutdown(cancel_futures=True)
        raise
    executor.shutdown()
    if repeats > 1:
        _print_latencies(count, seconds, perf_counter() - started_at)
    return code


def _report(outcome: _Outcome, printer: _Printer, *, is_alone: bool) -> int:
    """Print an answer, or why there is none. Returns the exit code."""
    if isinstance(outcome.result, Answer):
        printer(outcome.asked, outcome.result)
        return 0
    refusal = outcome.result
    place = "" if is_alone else f"{outcome.asked.name}: "
    print_error(harmless(f"{place}{refusal}"), _hint(refusal))
    return EXIT_FAILURE


def _hint(refusal: Refusal) -> str:
    match refusal.kind:
        case "ModelNotFoundException" | "ModelVersionNotFoundException":
            return "flambeau models shows what is served"
        case "ResourceNotFoundException":
            return "--url wants the inference address, which is on port 8080 by default"
        case "PayloadTooLargeException":
            return "max_request_size of the server sets the limit"
        case "ServiceUnavailableException" if "no worker" in str(refusal):
            return "flambeau models describe says how its workers are"
        case "InternalServerException" if refusal.status == 503:
            return "flambeau logs --kind model shows what the handler said"
    return hint_about_keys(refusal)


_Printer = Callable[[Input, Answer], None]


def _printer(inputs: Sequence[Input], output: Path | None) -> _Printer:
    """How answers are put out.

    Raises:
        UsageProblem: there is no place to write them to.
    """
    if output is not None:
        return _to_file(output) if len(inputs) == 1 else _to_folder(output, inputs)
    if sys.stdout.isatty():
        return _on_terminal if len(inputs) == 1 else _on_terminal_with_name
    return (lambda _, answer: write_raw(answer.body)) if len(inputs) == 1 else _in_a_line


def _on_terminal(asked: Input, answer: Answer) -> None:
    if answer.body and not show_answer(answer.body, answer.content_type):
        kind = answer.content_type or "binary"
        raise UsageProblem(f"the answer is {len(answer.body)} bytes, {kind}", "write it to a file with --output")


def _on_terminal_with_name(asked: Input, answer: Answer) -> None:
    console().print(harmless(asked.name), style="bold", soft_wrap=True)
    if not show_answer(answer.body, answer.content_type):
        console().print(f"{len(answer.body)} bytes, {answer.content_type or 'binary'}; --output writes them to files")


def _in_a_line(asked: Input, answer: Answer) -> None:
    """``{"input", "ms", "answer"}``; an answer that is neither JSON nor text is ``{"bytes"}``."""
    try:
        shown: object = json.loads(answer.body)
    except (ValueError, RecursionError):
        try:
            shown = answer.body.decode()
        except UnicodeDecodeError:
            shown = {"bytes": len(answer.body)}
    line = {"input": asked.name, "ms": round(answer.seconds * 1000, 3), "answer": shown}
    write_raw(json.dumps(line).encode() + b"\n")


def _to_file(path: Path) -> _Printer:
    if path.is_dir():
        raise UsageProblem(f"--output {path} is a folder", "of a single answer, name the file")
    if not path.parent.is_dir():
        raise UsageProblem(f"--output {path}: there is no folder {path.parent}", "make it first")
    return lambda _, answer: _write(path, answer.body)


def _to_folder(folder: Path, inputs: Sequence[Input]) -> _Printer:
    stems = [Path(asked.name).name for asked in inputs]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise UsageProblem(f"--output: two inputs are called {twice}", "send them one after the other")
    if folder.exists() and not folder.is_dir():
        raise UsageProblem(f"--output {folder} is a file", "of several answers, name a folder")
    folder.mkdir(parents=True, exist_ok=True)

    def write(asked: Input, answer: Answer) -> None:
        _write(folder / f"{Path(asked.name).name}{_suffix(answer)}", answer.body)

    return write


def _write(path: Path, body: bytes) -> None:
    path.write_bytes(body)


def _suffix(answer: Answer) -> str:
    """For the file of an answer; the server does not say what most handlers' answers are."""
    media_type = answer.content_type.partition(";")[0].strip().lower()
    if media_type:
        return _SUFFIXES.get(media_type, ".bin")
    try:
        json.loads(answer.body)
    except (ValueError, RecursionError):
        return ".out"
    return ".json"


@contextmanager
def _progress_bar(count: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr, where that is a terminal."""
    bar_console = console(stderr=True)
    if not bar_console.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=bar_console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        row = bar.add_task("requests", total=count)
        yield lambda: bar.advance(row)


def _print_latencies(count: int, seconds: Sequence[float], elapsed_s: float) -> None:
    failed = count - len(seconds)
    figures = ", ".join(f"{name} {value:.2f}" for name, value in summarize(seconds).items())
    out = console(stderr=True)
    out.print(
        f"{count} requests, {failed} failed, {elapsed_s:.2f} s: {count / elapsed_s:.1f} requests/s", soft_wrap=True
    )
    if figures:
        out.print(f"latency in ms: {figures}", soft_wrap=True)
