"""No worker outlives its server, not even one that hangs in its handler."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
import threading
import time

STOP_GRACE_S = 2.0
"""For exit hooks of handlers, and threads of theirs that do not end, once the worker is done."""
_PR_SET_PDEATHSIG = 1


class Lifeline(threading.Thread):
    """Watches the server's end of the socket and ends this process when it closes."""

    def __init__(self, sock: socket.socket, grace_s: float = STOP_GRACE_S) -> None:
        super().__init__(name="flambeau-lifeline", daemon=True)
        self.is_busy = True
        """Whether user code is running, so that nobody reads the socket: then the process ends at once."""
        self.exit_code = 0
        """What the process exits with if it has to be ended during its grace."""
        self._fd = sock.fileno()
        self._grace_s = grace_s

    def run(self) -> None:
        poller = select.poll()
        poller.register(self._fd, select.POLLHUP | getattr(select, "POLLRDHUP", 0))
        poller.poll()
        if not self.is_busy:
            time.sleep(self._grace_s)
        os._exit(self.exit_code)


def die_with_parent() -> None:
    """Have Linux kill this process when the thread that started it ends; elsewhere the lifeline must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
