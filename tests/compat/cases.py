"""Cases: one request to the one server that all of them share, and its answer, as JSON files by endpoint.

A file has the ``port`` that its cases go to (``inference``, ``management`` or ``metrics``) and ``cases``, which are
sent in turn and leave the server as they found it. A case is a step of ``prediction_scenarios`` with

- ``when``: what is special about the request, in a few words,
- ``port``: where it is not the file's,
- ``key``: of which port the token is (``inference``, ``management``, ``API``), or the whole header ``Authorization``;
  left out: of the case's port; null: no header,
- ``differs``: where TorchServe answers otherwise, which of the ``differences`` in ``torchserve.yaml`` it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.compat.prediction_scenarios import PredictionStep, play, read_step

ENDPOINTS = Path(__file__).with_name("endpoints")

_KEYS = ("inference", "management", "API")


@dataclass(frozen=True)
class Case:
    when: str
    port: str
    key: str | None
    """Of the key file, or the value of a header; None: no header."""
    differs: str | None
    step: PredictionStep


@dataclass(frozen=True)
class CaseFile:
    name: str
    cases: list[Case] = field(repr=False)


def load_cases(folder: Path = ENDPOINTS) -> Iterator[CaseFile]:
    """The files of a folder, by name."""
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_bytes())
        yield CaseFile(path.stem, [_case(content["port"], **case) for case in content["cases"]])


def play_case(case: Case, address: str, keys: Mapping[str, str]) -> str:
    """Send a case to a server. Returns what is wrong with the reply; empty if nothing is.

    Args:
        address: of the case's port.
        keys: the server's tokens as they are now, by what they are for.
    """
    step = case.step
    if case.key is not None:
        authorization = f"Bearer {keys[case.key]}" if case.key in _KEYS else case.key
        step = replace(step, headers={**step.headers, "Authorization": authorization})
    wrong = play(step, address)
    return f"{case.when}: {wrong}" if wrong else ""


def _case(file_port: str, when: str, *, port: str = "", differs: str | None = None, **step: Any) -> Case:
    port = port or file_port
    key = step.pop("key", port if port in _KEYS else None)
    return Case(when, port, key, differs, read_step(**step))
