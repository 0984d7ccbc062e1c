"""Workflows of small models that do what their request says."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from flambeau.archive.writer import write_plan
from flambeau.workflows.packaging import WorkflowArchiveSpec, plan_workflow_archive
from tests.process.calls import TIMEOUT_S, manage
from tests.serving import ServerProcess, wait_for, write_model

ORDERS = """
import json, os, pathlib, time


def handle(data, context):
    return None if data is None else [answer(row["body"], context) for row in data]


def answer(body, context):
    order = json.loads(bytes(body)).get(context.model_name.partition("__")[2], {})
    attempt = 0
    if "notes" in order:
        with open(order["notes"], "a") as notes:
            notes.write(context.model_name + "\\n")
        attempt = pathlib.Path(order["notes"]).read_text().count("\\n")
    if attempt <= order.get("deaths", -1):
        os._exit(1)
    if attempt <= order.get("failures", -1):
        raise ValueError("as ordered")
    if "gate" in order:
        gate = pathlib.Path(order["gate"])
        gate.with_suffix(".reached").touch()
        while not gate.exists():
            time.sleep(0.005)
    if "status" in order:
        context.set_response_status(order["status"], "as ordered")
        context.set_response_header(0, "x-node", context.model_name)
    return bytes(body)
"""
"""Passes its body on, when it has done what the order says that the body has under the node's name: write a line to
``notes``; end the process, or raise, while there are no more than so many lines; wait for the file ``gate``."""

TELL = """
def handle(data, context):
    return None if data is None else [tell(index, row, context) for index, row in enumerate(data)]


def tell(index, row, context):
    values = {name: [type(value).__name__, bytes(value).decode()] for name, value in row.items()}
    return {"node": context.model_name, "row": values, "asked": context.get_request_header(index, "X-Asked")}
"""
"""Answers with its name, its row, and what it sees of the client's headers."""

BREAKS = """
def handle(data, context):
    raise RuntimeError("cannot load")
"""

FUNCTIONS = """
import json


def first(data, context):
    return None if data is None else [row["body"] for row in data]


def last(data, context):
    if data is None:
        return None
    return [{name: json.loads(bytes(value)) for name, value in row.items()} for row in data]


def plain(data, context):
    return None if data is None else ["plain text" for _ in data]
"""


def write_models(store: Path) -> None:
    """The models that the workflows here are made of: ``orders-1.0``, ``tell-1.0``, ``breaks-1.0``."""
    for name, source in (("orders", ORDERS), ("tell", TELL), ("breaks", BREAKS)):
        write_model(store, name, source)


def write_workflow(store: Path, name: str, spec: str, functions: str | None = FUNCTIONS) -> Path:
    """An archive of a workflow, whose specification is checked as for any other."""
    folder = store / f"{name}-files"
    folder.mkdir()
    (folder / "spec.yaml").write_text(textwrap.dedent(spec))
    if functions is not None:
        (folder / "functions.py").write_text(functions)
    options = WorkflowArchiveSpec(
        workflow_name=name,
        spec_file=folder / "spec.yaml",
        handler=None if functions is None else folder / "functions.py",
        export_path=store,
    )
    return write_plan(plan_workflow_archive(options))


def register(server: ServerProcess, name: str, spec: str, **parameters: object) -> httpx.Response:
    """Write a workflow into the server's store and register it."""
    write_workflow(server.folder.parent / "store", name, spec)
    return manage(server, "POST", "/workflows", url=f"{name}.war", **parameters)


def predict(
    server: ServerProcess, workflow: str, body: bytes | Mapping[str, Any] = b"{}", **headers: str
) -> httpx.Response:
    """One request through a workflow, on a connection of its own."""
    content = body if isinstance(body, bytes) else json.dumps(body, default=str).encode()
    url = f"{server.inference}/wfpredict/{workflow}"
    return httpx.post(url, content=content, headers=headers, trust_env=False, timeout=TIMEOUT_S)


def running(server: ServerProcess, workflow: str) -> int:
    """Requests that are on their way through a workflow."""
    (description,) = manage(server, "GET", f"/workflows/{workflow}").json()
    return int(description["running"])


def wait_until_reached(gate: Path) -> None:
    wait_for("request at the gate", gate.with_suffix(".reached").exists)
