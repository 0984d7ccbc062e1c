"""Metrics of a real server in each mode: what is recorded when, and what scrapers and log readers see of it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from flambeau.metrics.catalog import DEFAULT_METRICS_FILE, load_catalog
from tests.serving import ECHO, ServerProcess, wait_for, write_model

HOST = socket.gethostname()
TEXT = {"content-type": "text/plain"}

COUNTING = """
from ts.metrics.dimension import Dimension

def handle(data, context):
    if data is None:
        return None
    context.metrics.add_counter("RowsSeen", len(data), dimensions=[Dimension("Colour", "red")])
    context.metrics.add_counter("Undeclared", 1)
    for row in data:
        if row["body"] == "fail":
            raise ValueError
        print(row["body"])
    return ["counted"] * len(data)
"""
TIMED = """
from ts.torch_handler.base_handler import BaseHandler

class Timed(BaseHandler):
    def initialize(self, context):
        self.context = context
        self.initialized = True

    def preprocess(self, data):
        return data

    def inference(self, data):
        return data

    def postprocess(self, data):
        return ["timed"] * len(data)
"""
PRINTED = "[METRICS]Printed.Milliseconds:4.5|#ModelName:counting,Level:Model|#type:GAUGE|#hostname:other,1700000000,id"
DECLARATIONS = """model_metrics:
  counter:
    - {name: RowsSeen, unit: Count, dimensions: [Colour, ModelName, Level]}
"""

Sample = tuple[str, dict[str, str], float]


def samples(server: ServerProcess, *names: str) -> list[Sample]:
    """What a scrape shows of these metrics: name, labels without the host's, value."""
    reply = httpx.get(f"{server.metrics}/metrics", params={"name[]": names}, trust_env=False)
    found = []
    for family in text_string_to_metric_families(reply.text):
        for sample in family.samples:
            # The parser gives counters the suffix that newer formats demand.
            name = sample.name if sample.name in names else sample.name.removesuffix("_total")
            labels = {key: value for key, value in sample.labels.items() if key.lower() != "hostname"}
            assert len(labels) + 1 == len(sample.labels)
            found.append((name, labels, sample.value))
    return found


def value(server: ServerProcess, name: str, **labels: str) -> float:
    """One series' value; 0 if there is none yet."""
    return sum(found for _, of, found in samples(server, name) if labels.items() <= of.items())


def predict(server: ServerProcess, model: str, body: str = "x") -> httpx.Response:
    return httpx.post(f"{server.inference}/predictions/{model}", content=body, headers=TEXT, trust_env=False)


# --- prometheus mode --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Prometheus mode, with a counter declared beside the default metrics."""
    folder = tmp_path_factory.mktemp("prometheus")
    declared = DEFAULT_METRICS_FILE.read_text().replace("model_metrics:\n", DECLARATIONS)
    (folder / "metrics.yaml").write_text(declared)
    models = [
        write_model(folder, name, source)
        for name, source in {"counting": COUNTING, "idle": ECHO, "timed": TIMED}.items()
    ]
    manifest = models[-1] / "MAR-INF" / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace("handler.py:handle", "handler.py"))
    options = ["--workers", "1", "--metrics-mode", "prometheus", "--set", f"metrics_config={folder / 'metrics.yaml'}"]
    with ServerProcess(*models, folder=folder, options=options, waits_for_models=False) as running:
        running.wait_until_ready("counting", "idle")  # the third loads torch meanwhile
        yield running


def test_every_default_metric_is_listed_even_without_samples(server: ServerProcess) -> None:
    text = httpx.get(f"{server.metrics}/metrics", trust_env=False).text
    for spec in load_catalog():
        kind = spec.kind.value
        assert f"# HELP {spec.name} Torchserve prometheus {kind} metric with unit: {spec.unit}\n" in text
        assert f"# TYPE {spec.name} {kind}\n" in text
    assert len(list(load_catalog())) == 21


def test_what_torchserves_regression_suite_looks_for_is_there(server: ServerProcess) -> None:
    assert predict(server, "counting").status_code == 200
    reply = httpx.get(f"{server.metrics}/metrics", trust_env=False)
    assert re.search(r'.*Requests2XX\{Level="Host",Hostname=".*",\} \d+\.\d+.*', reply.text)
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_replies_of_every_port_are_counted_by_the_class_of_their_status(server: ServerProcess) -> None:
    names = ("Requests2XX", "Requests4XX", "Requests5XX")

    def counted() -> dict[str, float]:
        return {name: found for name, _, found in samples(server, *names)}

    before = counted()
    predict(server, "counting")
    httpx.get(f"{server.management}/models", trust_env=False)
    httpx.get(f"{server.inference}/ping", trust_env=False)
    for port in (server.inference, server.management, server.metrics):
        httpx.get(f"{port}/nowhere", trust_env=False)
    predict(server, "counting", "fail")
    grown = {name: found - before[name] for name, found in counted().items()}
    assert grown == {"Requests2XX": 4, "Requests4XX": 3, "Requests5XX": 1}  # 2XX: and the scrape before


def test_inferences_are_counted_under_the_version_that_the_url_named(server: ServerProcess) -> None:
    name = "ts_inference_requests_total"
    labels = [{"model_name": "counting", "model_version": version} for version in ("default", "1.0")]
    before = [value(server, name, **of) for of in labels]
    predict(server, "counting")
    predict(server, "counting")
    predict(server, "counting/1.0")
    predict(server, "counting", "fail")
    predict(server, "counting/9.9")
    assert [value(server, name, **of) - old for of, old in zip(labels, before, strict=True)] == [3, 1]


def test_an_inference_that_finds_no_worker_is_counted_too(server: ServerProcess) -> None:
    scale = f"{server.management}/models/idle?synchronous=true&min_worker=0"
    httpx.put(scale, trust_env=False, timeout=30.0).raise_for_status()
    assert predict(server, "idle").status_code == 503
    assert value(server, "ts_inference_requests_total", model_name="idle") == 1


def test_times_add_up_over_the_inferences_that_succeed(server: ServerProcess) -> None:
    of = {"model_name": "counting", "model_version": "default"}
    predict(server, "counting")
    latency = value(server, "ts_inference_latency_microseconds", **of)
    queueing = value(server, "ts_queue_latency_microseconds", **of)
    assert 0 < queueing < latency
    predict(server, "counting", "fail")
    assert value(server, "ts_inference_latency_microseconds", **of) == latency
    predict(server, "counting")
    assert latency < value(server, "ts_inference_latency_microseconds", **of) < latency + 30e6
    assert value(server, "QueueTime", Level="Host") >= 0


def test_times_of_workers_are_plausible(server: ServerProcess) -> None:
    predict(server, "counting")
    [(_, labels, outside_worker_ms)] = samples(server, "WorkerThreadTime")
    assert labels == {"Level": "Host"}
    assert 0 <= outside_worker_ms < 5000
    loads = {labels["WorkerName"]: load_ms for _, labels, load_ms in samples(server, "WorkerLoadTime")}
    assert loads.keys() >= {"W-9000-counting_1.0", "W-9001-idle_1.0"}
    assert 10 < loads["W-9000-counting_1.0"] < 60_000


def test_only_base_handlers_record_handler_time_and_all_record_prediction_time(server: ServerProcess) -> None:
    server.wait_until_ready("timed", timeout_s=110.0)
    predict(server, "counting")
    predict(server, "timed")
    predictions = {labels["ModelName"]: ms for _, labels, ms in samples(server, "PredictionTime")}
    handlers = {labels["ModelName"]: ms for _, labels, ms in samples(server, "HandlerTime")}
    assert predictions.keys() == {"counting", "timed"}
    assert handlers.keys() == {"timed"}
    assert 0 <= handlers["timed"] <= predictions["timed"] + 0.01 < 5000


def test_the_host_is_measured_from_the_start(server: ServerProcess) -> None:
    def measured() -> dict[str, float]:
        names = [name for name in (spec.name for spec in load_catalog()) if re.match("CPU|Memory|Disk", name)]
        return {name: found for name, _, found in samples(server, *names)}

    host = wait_for("host metrics", measured)
    assert host.keys() == {
        "CPUUtilization",
        "MemoryUsed",
        "MemoryAvailable",
        "MemoryUtilization",
        "DiskUsage",
        "DiskUtilization",
        "DiskAvailable",
    }
    for percent in ("CPUUtilization", "MemoryUtilization", "DiskUtilization"):
        assert 0 <= host[percent] <= 100
    assert host["MemoryUsed"] > 0
    assert host["MemoryAvailable"] > 0


def test_describe_shows_the_memory_of_each_worker(server: ServerProcess) -> None:
    def memory() -> int:
        [version] = server.describe("counting")
        [worker] = version["workers"]
        return int(worker["memoryUsage"])

    assert 5_000_000 < wait_for("memory usage", memory) < 2_000_000_000


def test_a_handlers_own_counter_counts_if_it_is_declared(server: ServerProcess) -> None:
    of = {"Colour": "red", "ModelName": "counting", "Level": "Model"}
    before = value(server, "RowsSeen", **of)
    predict(server, "counting")
    predict(server, "counting")
    assert value(server, "RowsSeen", **of) == before + 2
    assert samples(server, "Undeclared") == []


def test_names_select_what_is_shown(server: ServerProcess) -> None:
    predict(server, "counting")
    for names in (["Requests2XX"], ["Requests2XX", "PredictionTime"], ["Requests2XX", "nothing"]):
        shown = {name for name, _, _ in samples(server, *names)}
        assert shown == set(names) - {"nothing"}
    reply = httpx.get(f"{server.metrics}/metrics?name[]=nothing", trust_env=False)
    assert (reply.status_code, reply.text) == (200, "")


def test_every_log_exists_and_those_of_metrics_are_empty(server: ServerProcess) -> None:
    predict(server, "counting")
    sizes = {path.name: path.stat().st_size for path in server.log_dir.glob("*.log")}
    assert sizes.keys() == {"ts_log.log", "model_log.log", "access_log.log", "ts_metrics.log", "model_metrics.log"}
    assert sizes["ts_metrics.log"] == sizes["model_metrics.log"] == 0


# --- legacy mode ------------------------------------------------------------------------------------------------------


def test_legacy_mode_shows_three_counters_and_logs_the_rest(tmp_path: Path) -> None:
    options = ["--workers", "1", "--metrics-mode", "legacy"]
    with ServerProcess(write_model(tmp_path, "counting", COUNTING), folder=tmp_path, options=options) as server:
        predict(server, "counting")
        text = httpx.get(f"{server.metrics}/metrics", trust_env=False).text
        families = {family.name: family.type for family in text_string_to_metric_families(text)}
        logged = wait_for(
            "lines in both logs",
            lambda: (
                "QueueTime" in server.log("ts_metrics.log")
                and "PredictionTime" in server.log("model_metrics.log")
                and server.log("ts_metrics.log")
            ),
        )
    assert families == {
        "ts_inference_requests": "counter",  # the parser takes off the suffix
        "ts_inference_latency_microseconds": "counter",
        "ts_queue_latency_microseconds": "counter",
    }
    assert f'model_name="counting",model_version="default",hostname="{HOST}",}} 1.0' in text
    assert "ts_inference" not in logged
    assert "Requests2XX.Count:" in logged


# --- log mode ---------------------------------------------------------------------------------------------------------

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3}"
NUMBER = r"\d+\.\d+(?:e[+-]\d+)?"
FRONTEND_LINE = re.compile(rf"{STAMP} - (\w+)\.(\w+):({NUMBER})\|#([^|]+)\|#hostname:{re.escape(HOST)},timestamp:\d+")
BACKEND_LINE = re.compile(
    rf"{STAMP} - (\w+)\.(\w+):({NUMBER})\|#([^|]+)\|#hostname:{re.escape(HOST)},(?:requestID:([^|]+),)?timestamp:\d+"
)


def lines_of(log: str, pattern: re.Pattern[str]) -> list[tuple[str, ...]]:
    """The fields of every line, each of which must have the format."""
    matches = [(line, pattern.fullmatch(line)) for line in log.splitlines()]
    assert [line for line, match in matches if match is None] == []
    return [match.groups() for _, match in matches if match is not None]


def total(log: str, name: str) -> float:
    return sum(float(number) for of, _, number, *_ in lines_of(log, FRONTEND_LINE) if of == name)


def test_log_mode_writes_one_line_for_many_updates_and_shows_nothing_to_scrapers(tmp_path: Path) -> None:
    metrics_dir = tmp_path / "elsewhere"
    with ServerProcess(
        write_model(tmp_path, "counting", COUNTING),
        folder=tmp_path,
        options=["--workers", "1", "--set", "model_metrics_auto_detect=true"],
        environment={"METRICS_LOCATION": str(metrics_dir)},
    ) as server:
        replies = [predict(server, "counting") for _ in range(20)]
        replies += [predict(server, "counting", body) for body in (PRINTED, "[METRICS]nonsense")]
        reply = httpx.get(f"{server.metrics}/metrics", trust_env=False)
    assert (reply.status_code, reply.content, reply.headers["content-length"]) == (200, b"", "0")
    assert not (server.log_dir / "ts_metrics.log").exists()

    frontend = (metrics_dir / "ts_metrics.log").read_text()
    assert total(frontend, "ts_inference_requests_total") == 22
    inferences = [line for line in lines_of(frontend, FRONTEND_LINE) if line[0] == "ts_inference_requests_total"]
    assert len(inferences) < 22
    assert {dimensions for *_, dimensions in inferences} == {"model_name:counting,model_version:default"}
    units = {name: unit for name, unit, *_ in lines_of(frontend, FRONTEND_LINE)}
    assert units.items() >= {
        ("Requests2XX", "Count"),
        ("ts_inference_latency_microseconds", "Microseconds"),
        ("QueueTime", "Milliseconds"),
        ("WorkerThreadTime", "Milliseconds"),
        ("WorkerLoadTime", "Milliseconds"),
        ("CPUUtilization", "Percent"),
        ("MemoryUsed", "Megabytes"),
        ("DiskUsage", "Gigabytes"),
    }

    backend = lines_of((metrics_dir / "model_metrics.log").read_text(), BACKEND_LINE)
    rows_seen = [line for line in backend if line[0] == "RowsSeen"]
    assert sum(float(number) for _, _, number, _, _ in rows_seen) == 22
    assert {(unit, dimensions) for _, unit, _, dimensions, _ in rows_seen} == {
        ("Count", "Colour:red,ModelName:counting,Level:Model")
    }
    assert {line[0] for line in backend} == {"RowsSeen", "Undeclared", "PredictionTime", "Printed"}
    assert ("Printed", "Milliseconds", "4.5", "ModelName:counting,Level:Model", "id") in backend
    ids = {reply.headers["x-request-id"] for reply in replies}
    assert {request_id for *_, request_id in rows_seen} <= ids

    model_log = server.log("model_log.log")
    assert re.search(rf"^{STAMP} \[INFO \] W-9000-counting_1\.0-stdout MODEL_LOG - x$", model_log, re.MULTILINE)
    assert "[METRICS]" not in model_log.replace("[METRICS]nonsense", "")
    assert 'Failed to parse metrics line: "[METRICS]nonsense"' in server.log()
    access = server.log("access_log.log").splitlines()
    assert re.fullmatch(rf'{STAMP} - /127\.0\.0\.1:\d+ "POST /predictions/counting HTTP/1\.1" 200 \d+', access[-2])


def test_every_update_can_have_its_own_line_as_in_torchserve(tmp_path: Path) -> None:
    with ServerProcess(
        write_model(tmp_path, "counting", COUNTING),
        folder=tmp_path,
        options=["--workers", "1", "--set", "metrics_every_update=true", "--set", "console_log=true"],
    ) as server:
        replies = [predict(server, "counting") for _ in range(5)]
    frontend = lines_of(server.log("ts_metrics.log"), FRONTEND_LINE)
    for name in ("ts_inference_requests_total", "ts_inference_latency_microseconds", "QueueTime", "WorkerThreadTime"):
        assert sum(line[0] == name for line in frontend) == 5
    assert {number for name, _, number, _ in frontend if name == "ts_inference_requests_total"} == {"1.0"}
    backend = lines_of(server.log("model_metrics.log"), BACKEND_LINE)
    predictions = [request_id for name, *_, request_id in backend if name == "PredictionTime"]
    assert predictions == [reply.headers["x-request-id"] for reply in replies]
    assert {name for name, *_ in backend} == {"PredictionTime"}

    # TorchServe's benchmark suite takes the fourth part between colons of what stands before the first bar.
    console = [line for line in server.output().splitlines() if " MODEL_METRICS - PredictionTime" in line]
    assert len(console) == 5
    for line in console:
        assert re.fullmatch(rf"{STAMP} \[INFO \] main MODEL_METRICS - PredictionTime\.ms:.*", line)
        assert 0 <= float(line.split("|")[0].split(":")[3]) < 5000


def test_the_metrics_port_stays_closed_where_its_api_is_off(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    options = ["--model-store", str(tmp_path / "store"), "--metrics-port", port, "--set", "enable_metrics_api=false"]
    with ServerProcess(folder=tmp_path, options=options), pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
