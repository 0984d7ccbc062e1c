"""Scenarios: what a client sends to a fresh server, step by step, and what it must get, as JSON files.

A file has ``archives`` that the model store holds (by file name: ``model_name`` and ``version`` of the manifest),
whether the ``model_api`` is enabled, and ``steps``. Each step has ``send`` (method and target), perhaps ``json`` or
``body`` with ``headers``, and what is expected: ``status`` and ``reply``. A reply is compared byte for byte with its
JSON as the server formats it, except that ``"<integer>"``, ``"<string>"``, ``"<boolean>"``, ``"<array>"`` and
``"<object>"`` stand for any value of that type.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WILDCARDS = {"<integer>": int, "<string>": str, "<boolean>": bool, "<array>": list, "<object>": dict}


@dataclass(frozen=True)
class Step:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    status: int
    reply: Any

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


@dataclass(frozen=True)
class Scenario:
    name: str
    archives: dict[str, dict[str, str]]
    model_api: bool
    steps: list[Step] = field(repr=False)


def load(folder: Path) -> Iterator[Scenario]:
    """The scenarios of a folder, by name."""
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_bytes())
        steps = [_step(**step) for step in content["steps"]]
        yield Scenario(path.stem, content["archives"], content.get("model_api", True), steps)


def difference(step: Step, status: int, body: bytes) -> str:
    """What is wrong with a reply; empty if nothing is."""
    if status != step.status:
        return f"{step}: status {status}, not {step.status}: {body!r}"
    actual = json.loads(body)
    expected = formatted(filled(step.reply, actual))
    return "" if body == expected else f"{step}: body {body!r}, not {expected!r}"


def formatted(value: Any) -> bytes:
    """JSON as a TorchServe server writes it."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def _step(
    send: str, status: int, reply: Any, json: Any = None, body: str = "", headers: dict[str, str] | None = None
) -> Step:
    method, _, target = send.partition(" ")
    headers = dict(headers or {})
    if json is not None:
        headers.setdefault("content-type", "application/json")
        body = formatted(json).decode()
    return Step(method, target, headers, body.encode(), status, reply)


def filled(expected: Any, actual: Any) -> Any:
    """What is expected, with the actual values where a wildcard allows them."""
    if isinstance(expected, str) and expected in WILDCARDS:
        return actual if type(actual) is WILDCARDS[expected] else expected
    if isinstance(expected, dict) and isinstance(actual, dict):
        return {key: filled(value, actual.get(key)) for key, value in expected.items()}
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        return [filled(one, other) for one, other in zip(expected, actual, strict=True)]
    return expected
