"""Scenarios of the inference port: what a client sends, what the handler sees of it, and what the client gets back.

A file has the ``models`` that the server serves (``name`` or ``name:version``, after the files in ``handlers``; several
versions of one name), its ``options``, and ``steps``. Each step has ``send`` (method and target, which go out as they
stand here) and perhaps

- ``headers``, and one of ``body`` (text), ``hex`` (bytes), ``json`` (sent as ``application/json``) and ``parts`` (of
  ``multipart/form-data``: objects with ``name``, ``value`` and perhaps ``type`` and ``filename``),
- ``script``: text for the handler of that name, sent as ``text/plain``.

What is expected: ``status`` (200 if it is left out), ``phrase``, ``reply_headers`` (names in the letter case of the
reply; null: there is no such header) and one of

- ``row`` and ``seen_headers``: what the handler ``seen`` saw; all fields, but only those headers that matter,
- ``error``: type and message of the server's JSON error, ``reply``: any other JSON of the server, byte for byte, where
  wildcards stand for values of their type as in ``scenarios``,
- ``text``: the whole body, ``contains``: texts in it,
- ``has``: a part of the JSON: of an object some members, of an array each element.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.compat.scenarios import filled, formatted

HANDLERS = Path(__file__).with_name("handlers")

_BOUNDARY = "----part"
_SENT = {"headers", "body", "hex", "json", "parts", "script"}
_EXPECTED = {"phrase", "reply_headers", "row", "seen_headers", "error", "reply", "text", "contains", "has"}


class Reply(NamedTuple):
    status: int
    phrase: str
    headers: list[tuple[str, str]]
    """As they came: letter case, order and repetitions."""
    body: bytes


@dataclass(frozen=True)
class PredictionStep:
    method: str
    target: str
    headers: Mapping[str, str | list[str]]
    body: bytes
    status: int
    expected: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.target} {self.body!r}"


@dataclass(frozen=True)
class PredictionScenario:
    name: str
    models: tuple[str, ...]
    options: tuple[str, ...]
    steps: list[PredictionStep] = field(repr=False)


def load(folder: Path) -> Iterator[PredictionScenario]:
    """The scenarios of a folder, by name."""
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_bytes())
        steps = [read_step(**step) for step in content["steps"]]
        yield PredictionScenario(path.stem, tuple(content["models"]), tuple(content.get("options", ())), steps)


def send(
    address: str,
    method: str,
    target: str,
    headers: Mapping[str, str | list[str]] | None = None,
    body: bytes = b"",
) -> Reply:
    """One request on a connection of its own, with nothing added but ``Host`` and ``Content-Length``.

    Args:
        address: the listener's URL.
        headers: a list of values is a header that is sent several times.
    """
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30.0)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, values in (headers or {}).items():
            for value in [values] if isinstance(values, str) else values:
                connection.putheader(name, value)
        if body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return Reply(response.status, response.reason, response.getheaders(), response.read())
    finally:
        connection.close()


def play(step: PredictionStep, address: str) -> str:
    """Send a step to a server. Returns what is wrong with the reply; empty if nothing is."""
    reply = send(address, step.method, step.target, step.headers, step.body)
    wrong = {name: (actual, expected) for name, actual, expected in _comparisons(step, reply) if actual != expected}
    return f"{step}: (actual, expected) {wrong}, body {reply.body!r}" if wrong else ""


def _comparisons(step: PredictionStep, reply: Reply) -> Iterator[tuple[str, object, object]]:
    """Names, actual and expected values of all that a step says about its reply."""
    expected = step.expected
    yield "status", reply.status, step.status
    headers = dict(reply.headers)
    yield "number of headers", len(reply.headers), len(headers)
    for name, value in expected.get("reply_headers", {}).items():
        yield name, headers.get(name), value
    if "phrase" in expected:
        yield "phrase", reply.phrase, expected["phrase"]
    if "text" in expected:
        yield "text", reply.body.decode(), expected["text"]
    if "reply" in expected:
        yield "reply", reply.body, formatted(filled(expected["reply"], _json(reply.body)))
    if "has" in expected:
        yield "has", _part_like(expected["has"], _json(reply.body)), expected["has"]
    for text in expected.get("contains", ()):
        yield f"contains {text}", text in reply.body.decode(), True
    if "error" in expected:
        type_name, message = expected["error"]
        body = {"code": step.status, "type": type_name, "message": message}
        if step.target.startswith("/v2"):  # the Open Inference Protocol's own key, on its routes
            body["error"] = message
        yield "error", reply.body, formatted(body)
    if "row" in expected or "seen_headers" in expected:
        yield from _seen(expected, reply)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _part_like(wanted: Any, actual: Any) -> Any:
    """What of a JSON value is there to be compared with another: of objects the members that the other has."""
    if isinstance(wanted, dict) and isinstance(actual, dict):
        return {name: _part_like(value, actual[name]) for name, value in wanted.items() if name in actual}
    if isinstance(wanted, list) and isinstance(actual, list) and len(wanted) == len(actual):
        return [_part_like(one, other) for one, other in zip(wanted, actual, strict=True)]
    return actual


def _seen(expected: Mapping[str, Any], reply: Reply) -> Iterator[tuple[str, object, object]]:
    if reply.status != 200:
        return
    seen = json.loads(reply.body)
    if "row" in expected:
        yield "row", seen["row"], expected["row"]
    for name, value in expected.get("seen_headers", {}).items():
        yield f"seen header {name}", seen["headers"].get(name), value


def read_step(send: str, status: int = 200, **rest: Any) -> PredictionStep:
    """A step of a file, as it is sent and compared. Raises ValueError for a key that steps do not have."""
    unknown = rest.keys() - _SENT - _EXPECTED
    if unknown:
        raise ValueError(f"{send}: unknown keys {unknown}")
    method, _, target = send.partition(" ")
    headers = dict(rest.get("headers", {}))
    body = rest.get("body", "").encode()
    if "hex" in rest:
        body = bytes.fromhex(rest["hex"])
    if "json" in rest:
        headers.setdefault("Content-Type", "application/json")
        body = json.dumps(rest["json"]).encode()
    if "script" in rest:
        headers.setdefault("Content-Type", "text/plain")
        body = rest["script"].encode()
    if "parts" in rest:
        headers.setdefault("Content-Type", f"multipart/form-data; boundary={_BOUNDARY}")
        body = b"".join(_part(**part) for part in rest["parts"]) + f"--{_BOUNDARY}--\r\n".encode()
    return PredictionStep(
        method, target, headers, body, status, {key: value for key, value in rest.items() if key in _EXPECTED}
    )


def _part(name: str, value: str, type: str | None = None, filename: str | None = None) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    lines = [f"--{_BOUNDARY}", disposition, *([f"Content-Type: {type}"] if type else []), "", value, ""]
    return "\r\n".join(lines).encode()
