"""Load from ``wrk``, and what it measured."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("post.lua")
RESULT_MARK = "wrk-json "


class LoadError(Exception):
    """wrk is missing, or did not run."""


@dataclass(frozen=True)
class Measurement:
    """One run of wrk against one server."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    failed_replies: int
    """Replies whose status is 400 or more."""
    failed_connections: int
    """Connects, reads and writes that failed, and replies that took longer than the time-out."""

    @property
    def requests_per_s(self) -> float:
        return (self.requests - self.failed_replies) / self.seconds

    @property
    def failures(self) -> int:
        return self.failed_replies + self.failed_connections


def require_wrk() -> None:
    """Raises LoadError, with the command that helps, where wrk is not installed."""
    if shutil.which("wrk") is None:
        raise LoadError("wrk is not installed; on Debian or Ubuntu: apt-get install wrk")


def parse_output(text: str) -> Measurement:
    """Read the JSON line that ``post.lua`` adds to wrk's output.

    Raises:
        LoadError: there is no such line.
    """
    for line in text.splitlines():
        if line.startswith(RESULT_MARK):
            return Measurement(**json.loads(line.removeprefix(RESULT_MARK)))
    raise LoadError(f"wrk printed no result:\n{text}")


def post(url: str, body: Path, content_type: str, *, connections: int, seconds: float) -> Measurement:
    """Post a file over ``connections`` connections, each sending its next request when it has its reply.

    One thread of wrk: it makes several times the load that any server here can take, and leaves the cores to them.
    """
    require_wrk()
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
    command += ["--timeout", "30s", "--script", str(SCRIPT), url, "--", str(body), content_type]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
    if result.returncode:
        raise LoadError(f"wrk failed with status {result.returncode}: {result.stderr.strip() or result.stdout.strip()}")
    return parse_output(result.stdout)
