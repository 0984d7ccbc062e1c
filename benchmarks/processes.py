"""Server processes that are gone, with all their children, when the block that started them ends."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

STOP_GRACE_S = 15.0
POLL_S = 0.02


class ServerFailed(Exception):
    """A server did not start, ended by itself or gave a wrong answer."""


def stop_servers_on_sigterm() -> None:
    """Make SIGTERM end this program by an exception, so that the servers that it started end, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class ServerProcess:
    """A server and the session of processes that it leads; its output goes to a file."""

    def __init__(self, command: Sequence[str], *, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._command = list(command)
        self.log = folder / "output.log"
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=folder,
                env={**os.environ, "TMPDIR": str(folder), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check_alive(self) -> None:
        """Raises ServerFailed, with the end of its output, when the server has ended."""
        if self._process.poll() is not None:
            raise ServerFailed(f"server ended with status {self._process.returncode}\n{self.recent_output()}")

    def recent_output(self) -> str:
        """The command, and the last lines that it printed."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join([f"$ {shlex.join(self._command)}", *lines[-20:]])

    def wait_for_file(self, path: Path, *, timeout_s: float = 60.0) -> str:
        """The text of a file that the server writes in one step when it is up."""
        deadline = time.monotonic() + timeout_s
        while not path.exists():
            self.check_alive()
            if time.monotonic() > deadline:
                raise ServerFailed(f"{path.name} was not written within {timeout_s:g} s\n{self.recent_output()}")
            time.sleep(POLL_S)
        return path.read_text()

    def stop(self) -> None:
        """Ask the leader to stop, then end whatever is left of its session."""
        self._process.terminate()
        try:
            self._process.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()


@contextmanager
def running(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    """A server for as long as the block lasts."""
    server = ServerProcess(command, folder=folder, environment=environment)
    try:
        yield server
    finally:
        server.stop()


def post_once(url: str, body: bytes, content_type: str, *, timeout_s: float = 10.0) -> bytes:
    """One POST. Raises OSError (URLError among them) where there is no reply of status 200."""
    request = urllib.request.Request(url, data=body, headers={"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=timeout_s) as reply:
        return bytes(reply.read())


def wait_for_reply(
    server: ServerProcess, url: str, body: bytes, content_type: str, *, timeout_s: float = 90.0
) -> bytes:
    """Post until the server answers with 200, and return that answer. Raises ServerFailed when it never does."""
    deadline = time.monotonic() + timeout_s
    while True:
        server.check_alive()
        try:
            return post_once(url, body, content_type)
        except OSError as error:
            if time.monotonic() > deadline:
                problem = f"{url} did not answer within {timeout_s:g} s: {error}"
                raise ServerFailed(f"{problem}\n{server.recent_output()}") from error
        time.sleep(POLL_S)
