"""Pack a classifier, serve it, ask it about three pictures, look at what the server says of itself, stop it.

Ends with status 1 where an answer is wrong. With ``KEEP=1`` in the environment the server stays up until Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo.efficientnet_lite0 import MODEL_NAME, PICTURES, jpeg, pack

FOLDER = Path(".demo").absolute()
EXPECTED = {"chelsea": {"tabby", "tiger cat", "Egyptian cat"}, "coffee": {"espresso", "cup"}}
"""What the likeliest label may be. The rocket has no label of its own in ImageNet."""
METRICS = ("ts_inference_requests_total", "ts_inference_latency_microseconds", "ts_queue_latency_microseconds")
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

console = Console()


class DemoFailed(Exception):
    """Something did not go as it should; ``str()`` says what."""


@dataclass(frozen=True)
class Addresses:
    inference: str
    management: str
    metrics: str


@dataclass(frozen=True)
class Answer:
    """What the server said of one picture, likeliest label first."""

    picture: str
    scores: dict[str, float]
    latency_ms: float

    @property
    def best(self) -> str:
        return next(iter(self.scores))

    @property
    def is_right(self) -> bool:
        return self.picture not in EXPECTED or self.best in EXPECTED[self.picture]


@contextmanager
def step(description: str) -> Iterator[None]:
    """Show that something is under way, for how long, and in the end how long it took."""
    columns = (SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        running = progress.add_task(description, total=1)
        yield
        progress.update(running, completed=1)


@contextmanager
def serving(archive: Path) -> Iterator[Addresses]:
    """The server, up and with its model ready, for as long as the block lasts. Raises DemoFailed if it is not."""
    ready_file = FOLDER / "ready.json"
    ready_file.unlink(missing_ok=True)
    command = [str(Path(sys.executable).with_name("flambeau")), "serve", str(archive)]
    command += ["--port", "0", "--management-port", "0", "--metrics-port", "0", "--metrics-mode", "prometheus"]
    command += ["--no-grpc"]
    command += ["--ready-file", str(ready_file), "--log-dir", str(FOLDER / "logs")]
    output = FOLDER / "server.log"
    with output.open("w") as stream:
        # A session of its own, so that Ctrl-C reaches this program alone, which then stops the server in order.
        server = subprocess.Popen(command, cwd=FOLDER, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        with step("starting the server and one worker"):
            addresses = wait_until_ready(server, ready_file)
        yield addresses
    except DemoFailed as error:
        raise DemoFailed(f"{error}\n{output.read_text()}") from error
    finally:
        stop(server)
    if server.returncode:
        raise DemoFailed(f"the server ended with status {server.returncode}\n{output.read_text()}")


def wait_until_ready(server: subprocess.Popen[bytes], ready_file: Path) -> Addresses:
    """Wait for the listeners, then for the model's worker. Raises DemoFailed when either does not come."""
    deadline = time.monotonic() + START_TIMEOUT_S
    addresses: Addresses | None = None
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise DemoFailed(f"the server ended with status {server.returncode}")
        if addresses is None and ready_file.exists():
            bound = json.loads(ready_file.read_text())
            addresses = Addresses(*(bound[f"{name}_address"] for name in ("inference", "management", "metrics")))
        if addresses is not None and model_is_ready(addresses):
            return addresses
        time.sleep(0.05)
    raise DemoFailed(f"the model was not ready within {START_TIMEOUT_S:g} s")


def model_is_ready(addresses: Addresses) -> bool:
    reply = httpx.get(f"{addresses.management}/models/{MODEL_NAME}")
    return reply.status_code == 200 and any(worker["status"] == "READY" for worker in reply.json()[0]["workers"])


def stop(server: subprocess.Popen[bytes]) -> None:
    """SIGTERM, which drains; SIGKILL to all that is left when that takes too long."""
    server.terminate()
    try:
        server.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def ask(client: httpx.Client, addresses: Addresses, picture: str) -> Answer:
    body = (FOLDER / f"{picture}.jpg").read_bytes()
    started_at = time.perf_counter()
    reply = client.post(f"{addresses.inference}/predictions/{MODEL_NAME}", content=body)
    latency_ms = (time.perf_counter() - started_at) * 1000
    if reply.status_code != 200:
        raise DemoFailed(f"{picture}: status {reply.status_code}: {reply.text}")
    return Answer(picture, reply.json(), latency_ms)


def show_answers(answers: list[Answer]) -> None:
    table = Table("picture", "five likeliest labels", "ms", title="Answers", title_justify="left")
    for answer in answers:
        labels = "\n".join(f"{score:6.1%}  {label}" for label, score in answer.scores.items())
        table.add_row(answer.picture, labels, f"{answer.latency_ms:5.0f}", end_section=True)
    console.print(table)


def show_description(description: dict[str, Any]) -> None:
    table = Table("setting", "value", title="The model, as the management API describes it", title_justify="left")
    for key in ("modelName", "modelVersion", "minWorkers", "maxWorkers", "batchSize", "maxBatchDelay"):
        table.add_row(key, str(description[key]))
    for worker in description["workers"]:
        table.add_row(f"worker {worker['id']}", f"{worker['status']}, process {worker['pid']}")
    console.print(table)


def show_metrics(text: str) -> None:
    table = Table("metric", "value", title="Metrics, in Prometheus's format", title_justify="left")
    for line in text.splitlines():
        if line.startswith(METRICS):
            series, _, value = line.rpartition(" ")
            table.add_row(series.partition("{")[0], f"{float(value):,.0f}")
    console.print(table)


def show_commands(addresses: Addresses) -> None:
    console.print("\nThe server stays up. Try, in another terminal:", style="bold")
    for command in (
        f"curl -T {FOLDER / 'chelsea.jpg'} {addresses.inference}/predictions/{MODEL_NAME}",
        f"curl {addresses.management}/models/{MODEL_NAME}",
        f"curl -X PUT '{addresses.management}/models/{MODEL_NAME}?min_worker=2&synchronous=true'",
        f"curl {addresses.metrics}/metrics",
    ):
        console.print(f"  {command}", soft_wrap=True, highlight=False, markup=False)
    console.print("Ctrl-C stops it.")


def demonstrate(*, keep: bool) -> None:
    """Raises DemoFailed where anything is not as it should be."""
    FOLDER.mkdir(exist_ok=True)
    with step("packing the model archive"):
        archive = pack(FOLDER)
        for picture in PICTURES:
            (FOLDER / f"{picture}.jpg").write_bytes(jpeg(picture))
    with serving(archive) as addresses, httpx.Client(timeout=30) as client:
        with step("asking about three pictures"):
            answers = [ask(client, addresses, picture) for picture in PICTURES]
        show_answers(answers)
        show_description(client.get(f"{addresses.management}/models/{MODEL_NAME}").json()[0])
        show_metrics(client.get(f"{addresses.metrics}/metrics").text)
        if wrong := [f"{answer.picture} is not {answer.best}" for answer in answers if not answer.is_right]:
            raise DemoFailed("; ".join(wrong))
        if keep:
            show_commands(addresses)
            wait_for_interrupt()


def wait_for_interrupt() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("stopping")


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))  # an exception, so that the server is stopped
    try:
        demonstrate(keep=os.environ.get("KEEP", "") not in ("", "0"))
    except DemoFailed as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    console.print("The answers are right and the server has stopped.", style="green")
    return 0


if __name__ == "__main__":
    sys.exit(main())
