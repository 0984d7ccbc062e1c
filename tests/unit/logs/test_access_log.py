from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.logs.access import MAX_LINE_BYTES, AccessLog
from flambeau.logs.line_log import LineLog

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3}"


class Sink(LineLog):
    """A log that keeps its entries' text."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line)


def line_of(target: str, *, method: str = "GET", status: int = 200, milliseconds: float = 5.0) -> str:
    sink = Sink()
    AccessLog(sink).record("127.0.0.1:41234", method, target, status, milliseconds)
    return sink.lines[0]


@pytest.mark.parametrize(
    ("method", "target", "status", "milliseconds", "text"),
    [
        ("GET", "/ping", 200, 0.4, '/127.0.0.1:41234 "GET /ping HTTP/1.1" 200 0'),
        ("POST", "/predictions/m?a=b%20c", 507, 12.6, '/127.0.0.1:41234 "POST /predictions/m?a=b%20c HTTP/1.1" 507 13'),
        (
            "gRPC",
            "org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping",
            0,
            3.0,
            '/127.0.0.1:41234 "gRPC org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping HTTP/2.0" 0 3',
        ),
    ],
)
def test_a_line_is_torchserves(method: str, target: str, status: int, milliseconds: float, text: str):
    line = line_of(target, method=method, status=status, milliseconds=milliseconds)
    assert re.fullmatch(f"{STAMP} - {re.escape(text)}", line)


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/a\r\n2026-01-31T12:00:00,123 - forged", r"/a\r\n2026-01-31T12:00:00,123 - forged"),
        ('/a" 200 1', r"/a\" 200 1"),
        ("/\x1b[2J\x00", r"/\x1b[2J\x00"),
    ],
)
def test_a_target_cannot_forge_a_line_or_a_field(target: str, shown: str):
    assert line_of(target).endswith(f' "GET {shown} HTTP/1.1" 200 5')


def test_a_long_target_is_cut_and_the_rest_of_the_line_is_not():
    line = line_of("/" + "x" * 60_000)
    assert len(line.encode()) <= MAX_LINE_BYTES
    assert line.endswith('xxx… HTTP/1.1" 200 5')


@given(st.text(max_size=400) | st.text(alphabet="\x01ä\U0001f600x", min_size=30, max_size=300))
def test_every_line_is_one_line_of_limited_length(target: str):
    line = line_of(target)
    assert len(line.encode("utf-8", "backslashreplace")) <= MAX_LINE_BYTES
    assert len(line.splitlines()) == 1
    assert line.endswith(' HTTP/1.1" 200 5')


def test_lines_reach_the_file(tmp_path: Path):
    log = LineLog(tmp_path / "access_log.log")
    access = AccessLog(log)
    access.record("127.0.0.1:1", "GET", "/ping", 200, 1.0)
    access.record("127.0.0.1:2", "GET", "/ping", 200, 2.0)
    log.close()
    lines = log.path.read_text().splitlines()
    assert [line.split(" - ")[1] for line in lines] == [
        '/127.0.0.1:1 "GET /ping HTTP/1.1" 200 1',
        '/127.0.0.1:2 "GET /ping HTTP/1.1" 200 2',
    ]
