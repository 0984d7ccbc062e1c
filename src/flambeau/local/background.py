"""The event loop on which this process talks to the workers of all its models, in one thread."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from flambeau.config.server import ServerConfig
from flambeau.registry.host import Host
from flambeau.registry.version import ModelVersion

T = TypeVar("T")


class Background:
    """A loop in a daemon thread, and the models that it serves. Use :func:`background`."""

    def __init__(self) -> None:
        self.loop = _new_loop()
        self.host = Host(ServerConfig())
        self.versions: list[ModelVersion] = []
        """Of the loop's thread alone."""
        self._endings: dict[ModelVersion, asyncio.Task[None]] = {}
        self._thread = threading.Thread(target=self._run, name="flambeau-workers", daemon=True)
        self._thread.start()

    def is_current_thread(self) -> bool:
        """Whether to wait for the loop would be to wait for oneself."""
        return threading.get_ident() == self._thread.ident

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it. Whoever is interrupted while waiting cancels it.

        Raises:
            RuntimeError: the process is ending, and the loop has.
        """
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError:
            coroutine.close()
            raise
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Call on the loop's thread. RuntimeError: as for :meth:`wait_for`."""
        self.loop.call_soon_threadsafe(callback, *arguments)

    # --- on the loop -------------------------------------------------------------------------------------------------

    def admit(self, version: ModelVersion, workers: int) -> None:
        """Have so many workers of a model placed and started."""
        self.versions.append(version)
        version.want(workers, workers)
        self.host.place(self.versions)
        version.supervisor.start()

    async def dismiss(self, version: ModelVersion) -> None:
        """End a model's workers and remove what was shipped to them. Goes on by itself if the caller is cancelled."""
        if version in self.versions:
            self.versions.remove(version)
            self._endings[version] = asyncio.ensure_future(self._end(version))
        if version in self._endings:
            await asyncio.shield(self._endings[version])

    async def _end(self, version: ModelVersion) -> None:
        try:
            await version.stop(0.0)
        finally:
            shutil.rmtree(version.model.directory, ignore_errors=True)
            self.host.place(self.versions)
            del self._endings[version]

    def dismiss_soon(self, version: ModelVersion) -> None:
        """The same without waiting; from any thread."""
        try:
            self.call_soon(lambda: asyncio.ensure_future(self.dismiss(version)))
        except RuntimeError:  # the loop has ended, and the workers with it
            pass

    # --- inside ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def end(self) -> None:
        """Answer what has been accepted, as ``concurrent.futures`` does at this point; then end all workers."""
        self.wait_for(self._finish())
        self.call_soon(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _finish(self) -> None:
        await asyncio.gather(*(version.drain(None) for version in self.versions))
        await asyncio.gather(*map(self.dismiss, [*self.versions, *self._endings]))


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


_lock = threading.Lock()
_background: Background | None = None


def background() -> Background:
    """The one of this process; started when it is first asked for."""
    global _background
    with _lock:
        if _background is None:
            _background = Background()
        return _background


def _end() -> None:
    if _background is not None:
        _background.end()


def _start_anew() -> None:
    """The child of a fork has no thread for the loop, and the workers are its parent's."""
    global _lock, _background
    _lock = threading.Lock()
    _background = None


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
