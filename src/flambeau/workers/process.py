"""One worker: a process, its socket and its output, from start to reaped."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from flambeau.errors import FlambeauError
from flambeau.wire.arena import SLOT_BYTES, Arena, make_memory
from flambeau.wire.channel import WorkerChannel
from flambeau.wire.lending import LendingArena
from flambeau.wire.messages import WIRE_VERSION, Batch, BatchReply, Hello, Load, Loaded, Message, Place
from flambeau.workers.exits import LastWords, OomCounter, WorkerExit, explain_exit

logger = logging.getLogger(__name__)

_MAX_LINE_BYTES = 64 * 1024
"""A longer line of a handler's output is cut into several, so that memory stays bounded."""

_REAP_S = 2.0
"""How long a worker whose socket has closed may take to end by itself before it is killed."""

_TERM_S = 3.0
"""How long it may take after SIGTERM."""


class WorkerFailed(FlambeauError):
    """A worker did not become ready. ``str()`` says why in one line."""

    def __init__(self, reason: str, *, out_of_memory: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.out_of_memory = out_of_memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Everything that starting one worker takes."""

    worker_id: int
    python: str
    environment: Mapping[str, str]
    load: Load
    startup_timeout_s: float
    max_frame_bytes: int
    oom_counter: OomCounter
    """Shared by all workers of a server."""
    slot_bytes: int = SLOT_BYTES
    """How much one batch's large values may take of the shared memory."""


@dataclass(frozen=True, slots=True)
class WorkerHooks:
    """Whom a worker tells. All are called on the event loop."""

    on_reply: Callable[[int, BatchReply], None]
    on_released: Callable[[int], None]
    on_lost: Callable[[int], None]
    """Its connection has closed; how it ended, ``gone`` will tell."""
    on_line: Callable[[int, str, bool], None]
    """Worker id, a line of its output without its end, whether it came from standard error."""


async def start_worker(launch: Launch, hooks: WorkerHooks) -> WorkerProcess:
    """Start a process, load the handler and wait until it is ready.

    Raises:
        WorkerFailed: it died, could not load, or took longer than ``startup_timeout_s``; nothing of it is left.
    """
    try:
        process, ours, arena = await _spawn(launch)
    except OSError as error:
        raise WorkerFailed(f"{launch.python} could not be started: {error.strerror}") from None
    worker = WorkerProcess(launch, process, hooks, arena)
    try:
        await worker.connect(ours)
        await worker.load(launch)
    except BaseException:
        await asyncio.shield(worker.end())
        raise
    return worker


async def _spawn(launch: Launch) -> tuple[asyncio.subprocess.Process, socket.socket, Arena | None]:
    """A process, the server's end of its socket and of the memory that it may share.

    Raises:
        OSError: there is no such interpreter, or no file, memory or process is left; nothing stays open.
    """
    with ExitStack() as ours_to_close, ExitStack() as theirs_to_close:
        ours, theirs = socket.socketpair()
        ours_to_close.callback(ours.close)
        theirs_to_close.callback(theirs.close)
        arguments = ["--fd", str(theirs.fileno())]
        inherited = [theirs.fileno()]
        arena = None
        memory = make_memory(launch.slot_bytes)
        if memory is not None:
            theirs_to_close.callback(os.close, memory)
            arena = LendingArena(memory) if launch.load.views else Arena(memory, is_server=True)
            ours_to_close.callback(arena.close)
            arguments += ["--memory-fd", str(memory)]
            inherited.append(memory)
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                launch.python,
                "-m",
                "flambeau.runtime",
                *arguments,
                pass_fds=inherited,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=dict(launch.environment),
                start_new_session=True,  # Ctrl-C is for the server alone; and the whole group can be ended
                limit=_MAX_LINE_BYTES,
            )
        )
        try:
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await _end_unwanted(starting)
            raise
        ours_to_close.pop_all()
    return process, ours, arena


async def _end_unwanted(starting: asyncio.Future[asyncio.subprocess.Process]) -> None:
    """A start that was cancelled half-way may have made a process already, which nobody else knows of."""
    try:
        process = await starting
    except OSError:
        return
    try:
        process.kill()
    except ProcessLookupError:  # it has ended by itself
        pass
    await process.wait()


class WorkerProcess:
    """A running worker. Made by :func:`start_worker`, which returns it ready."""

    def __init__(
        self, launch: Launch, process: asyncio.subprocess.Process, hooks: WorkerHooks, arena: Arena | None
    ) -> None:
        self.id = launch.worker_id
        self.pid = process.pid
        self.load_s = 0.0
        self.resident_bytes = 0
        self._process = process
        self._hooks = hooks
        self._loaded: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._channel = WorkerChannel(self._on_message, self._on_lost, launch.max_frame_bytes)
        self._arena = arena
        self._oom_counter = launch.oom_counter
        self._socket: socket.socket | None = None
        self._kill_reason = ""
        self._last_words = LastWords()
        self._pumps = [
            asyncio.ensure_future(self._pump(process.stdout, False)),
            asyncio.ensure_future(self._pump(process.stderr, True)),
        ]
        self._channel_lost = asyncio.Event()
        self.gone: asyncio.Task[WorkerExit] = asyncio.ensure_future(self._await_end())
        """Done when the process is reaped and its output is read; the result says how it ended."""

    async def connect(self, ours: socket.socket) -> None:
        """Take over the server's end of the socket pair."""
        self._socket = ours
        ours.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self._channel, sock=ours)

    async def load(self, launch: Launch) -> None:
        """Have the handler loaded. Raises WorkerFailed."""
        self._channel.send(launch.load)
        done, _ = await asyncio.wait(
            (self._loaded, self.gone), timeout=launch.startup_timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if self._loaded in done:
            loaded = self._loaded.result()
            if loaded.error:
                raise WorkerFailed(loaded.error, out_of_memory=loaded.out_of_memory)
            self.load_s, self.resident_bytes = loaded.seconds, loaded.resident_bytes
        elif self.gone in done:
            ended = self.gone.result()
            raise WorkerFailed(ended.in_full, out_of_memory=ended.out_of_memory)
        else:
            raise WorkerFailed(f"not ready within the startup timeout of {launch.startup_timeout_s:g} s")

    def send(self, batch: Batch) -> None:
        self._last_words.asked()
        self._channel.send(batch)

    def place(self, cores: tuple[int, ...], threads: int) -> None:
        """Move it to other cores, with so many intra-op threads."""
        self._channel.send(Place(cores=cores, threads=threads))

    def allow_frames(self, max_frame_bytes: int) -> None:
        """Take frames of this size from it from now on, too."""
        self._channel.allow_frames(max_frame_bytes)

    def released(self) -> None:
        self._hooks.on_released(self.id)

    def kill(self, reason: str) -> None:
        """End it and whatever it has started, at once."""
        self._kill_reason = self._kill_reason or reason
        self._signal(signal.SIGKILL)

    async def end(self, *, reap_s: float = _REAP_S, term_s: float = _TERM_S) -> WorkerExit:
        """Stop it: close its stream, then SIGTERM, then SIGKILL, each after a while. Returns when it is reaped."""
        if self._socket is not None and self._socket.fileno() >= 0:
            try:  # a child that was forked by somebody may hold a copy of the stream open
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:  # the worker went first
                pass
        self._channel.close()
        for wait_s, number in ((reap_s, signal.SIGTERM), (term_s, signal.SIGKILL)):
            done, _ = await asyncio.wait((self.gone,), timeout=wait_s)
            if done:
                break
            self._signal(number)
        return await self.gone

    # --- inside --------------------------------------------------------------------------------------------------

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass

    def _on_message(self, message: Message) -> None:
        if type(message) is BatchReply:
            self._last_words.answered()
            self._hooks.on_reply(self.id, message)
        elif isinstance(message, Loaded):
            if not self._loaded.done():
                self._loaded.set_result(message)
        elif isinstance(message, Hello):
            logger.info("Torch worker started.")  # TorchServe's words: scripts wait for them
            if message.wire_version != WIRE_VERSION:
                self.kill(f"it speaks wire version {message.wire_version}, not {WIRE_VERSION}")
            elif message.shares_memory and self._arena is not None:
                self._channel.share(self._arena)
        else:
            self.kill(f"it sent {type(message).__name__}, which only the server sends")

    def _on_lost(self) -> None:
        if self._arena is not None:
            self._arena.close()
        self._channel_lost.set()
        self._hooks.on_lost(self.id)

    async def _await_end(self) -> WorkerExit:
        """Wait for the process; one whose socket has closed gets a moment to end by itself."""
        waiting = asyncio.ensure_future(self._process.wait())
        lost = asyncio.ensure_future(self._channel_lost.wait())
        await asyncio.wait((waiting, lost), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            await asyncio.wait((waiting,), timeout=_REAP_S + _TERM_S)
            if not waiting.done():
                self.kill("closed its connection without ending")
        lost.cancel()
        returncode = await waiting
        try:  # what the worker has started may hold its group, its pipes and memory
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self._channel.close()
        await asyncio.wait(self._pumps, timeout=_REAP_S)
        for pump in self._pumps:
            pump.cancel()
        if self._kill_reason:
            return WorkerExit(self._kill_reason, False)
        return explain_exit(returncode, last_stderr_line=self._last_words.line, oom_counter=self._oom_counter)

    async def _pump(self, stream: asyncio.StreamReader | None, is_error: bool) -> None:
        """Hand on a pipe line by line until it ends."""
        if stream is None:
            raise ValueError("the process was started without this pipe; this is a bug")
        rest = b""
        while True:
            chunk = await stream.read(_MAX_LINE_BYTES)
            *lines, rest = (rest + chunk).split(b"\n")
            if (rest and not chunk) or len(rest) > _MAX_LINE_BYTES:
                lines.append(rest)
                rest = b""
            for line in lines:
                text = line.decode("utf-8", "replace").rstrip("\r")
                if is_error:
                    self._last_words.heard(text.strip())
                self._hooks.on_line(self.id, text, is_error)
            if not chunk:
                return
