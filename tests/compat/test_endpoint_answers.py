"""Every endpoint of one live server: what it answers to calls that are right, and to parameters that are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flambeau.archive.plan import ArchiveSpec
from flambeau.archive.writer import write_archive, write_plan
from flambeau.workflows.packaging import WorkflowArchiveSpec, plan_workflow_archive
from tests.compat.cases import CaseFile, load_cases, play_case
from tests.compat.prediction_scenarios import HANDLERS
from tests.serving import ServerProcess, wait_for

FILES = list(load_cases())
STARTED = {"seen.mar": ("seen", "1.0"), "seen-2.mar": ("seen", "2.0"), "script.mar": ("script", "1.0")}
"""Archives that are served from the start, one worker each; the first version is the default."""
STORED = {"noop.mar": ("noop", "1.0"), "noop-2.mar": ("noop", "2.0"), "alpha.mar": ("alpha", "1.0")}
"""Archives in the model store that cases may register."""
BROKEN = "raise RuntimeError('no weights here')\n"
FUNCTIONS = """
def upper(data, context):
    return data and [row["body"].decode().upper() for row in data]


def mark(data, context):
    return data and [row["body"].decode() + "!" for row in data]
"""
GRAPH = """
models: {retry-attempts: 0}
dag: {upper: [mark]}
"""
OPTIONS = ["--token-auth", "--enable-model-api", "--metrics-mode", "prometheus", "--workers", "1"]
SETTINGS = {
    "ts_open_inference_protocol": "true",
    "max_request_size": "100000",
    "cors_allowed_origin": "https://example.com",
}


def test_three_hundred_cases_at_least():
    assert sum(len(file.cases) for file in FILES) >= 300


def keys(server: ServerProcess) -> dict[str, str]:
    """The server's tokens as they are now, by what they are for."""
    content = json.loads((server.folder / "key_file.json").read_text())
    return {name: entry["key"] for name, entry in content.items()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("endpoints")
    store = folder / "store"
    store.mkdir()
    seen = (HANDLERS / "seen.py").read_text()
    sources = {"script": (HANDLERS / "script.py").read_text(), "broken": BROKEN}
    for file_name, (name, version) in {**STARTED, **STORED, "broken.mar": ("broken", "1.0")}.items():
        pack(store / file_name, name, version, sources.get(name, seen))
    pack_workflow(store, "shout", FUNCTIONS, GRAPH)
    (store / "text.mar").write_text("not an archive")
    settings = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    options = ["--model-store", str(store), *OPTIONS, *settings]
    models = [store / file_name for file_name in STARTED]
    with ServerProcess(*models, folder=folder, options=options, waits_for_models=False) as running:
        wait_until_ready(running)
        yield running


def pack(path: Path, name: str, version: str, source: str) -> None:
    handler = path.parent.parent / "handler.py"
    handler.write_text(source)
    spec = ArchiveSpec(model_name=name, version=version, handler=f"{handler}:handle", export_path=path.parent.parent)
    write_archive(spec).rename(path)


def pack_workflow(store: Path, name: str, functions: str, graph: str) -> None:
    handler, spec_file = store.parent / "functions.py", store.parent / "graph.yaml"
    handler.write_text(functions)
    spec_file.write_text(graph)
    spec = WorkflowArchiveSpec(workflow_name=name, spec_file=spec_file, handler=handler, export_path=store)
    write_plan(plan_workflow_archive(spec))


def wait_until_ready(server: ServerProcess) -> None:
    names = {name for name, _ in STARTED.values()}
    headers = {"Authorization": f"Bearer {keys(server)['management']}"}
    with httpx.Client(base_url=server.management, headers=headers, trust_env=False, timeout=10.0) as client:

        def are_ready() -> bool:
            versions = [version for name in names for version in client.get(f"/models/{name}/all").json()]
            return len(versions) == len(STARTED) and all(
                [worker["status"] for worker in version["workers"]] == ["READY"] for version in versions
            )

        wait_for("ready workers", are_ready, timeout_s=60.0)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_endpoints_answer_as_their_cases_say(file: CaseFile, server: ServerProcess) -> None:
    addresses = {"inference": server.inference, "management": server.management, "metrics": server.metrics}
    found = [play_case(case, addresses[case.port], keys(server)) for case in file.cases]
    assert [one for one in found if one] == []
