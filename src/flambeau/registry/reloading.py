"""Models that are served anew when their files change, for whoever is working on them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from flambeau.archive.store import is_remote
from flambeau.errors import FlambeauError, ShuttingDown
from flambeau.registry.models import Registry
from flambeau.registry.version import ModelVersion
from flambeau.request import ModelRef
from flambeau.watching import POLL_S, WatchedFiles

logger = logging.getLogger(__name__)


class _Source(NamedTuple):
    """What stays the same of a version when its files become another version."""

    name: str
    url: str


class Reloader:
    """Watches the folders of models that are served in place, and the archives of the others."""

    def __init__(
        self,
        registry: Registry,
        *,
        ignored: Collection[Path],
        on_reloaded: Callable[[ModelRef, Path], None],
        poll_s: float = POLL_S,
    ) -> None:
        """
        Args:
            ignored: what the server itself writes, which may lie in a model's folder.
            on_reloaded: told what is served anew, and a file that had changed.
        """
        self._registry = registry
        self._ignored = ignored
        self._on_reloaded = on_reloaded
        self._poll_s = poll_s
        self._watches: dict[_Source, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Watch every version that is served, those that are registered later included, until this is cancelled."""
        try:
            while True:
                for version in self._registry.versions():
                    if _source(version) not in self._watches and not is_remote(version.url):
                        self._begin(version)
                await asyncio.sleep(self._poll_s)
        finally:
            watches = list(self._watches.values())
            for watch in watches:
                watch.cancel()
            if watches:
                await asyncio.wait(watches)

    def _begin(self, version: ModelVersion) -> None:
        source = _source(version)
        watch = asyncio.ensure_future(self._watch(source, version))
        self._watches[source] = watch
        watch.add_done_callback(lambda done: self._note_end(source, done))

    def _note_end(self, source: _Source, watch: asyncio.Task[None]) -> None:
        del self._watches[source]
        if not watch.cancelled() and watch.exception() is not None:
            logger.error("watching the files of %s failed", source.name, exc_info=watch.exception())

    async def _watch(self, source: _Source, first: ModelVersion) -> None:
        """Reload what is served of these files whenever they change; ends when nothing is any more."""
        root = first.model.source if first.model.is_temporary else first.model.directory
        watched = await asyncio.get_running_loop().run_in_executor(
            None, lambda: WatchedFiles([root], self._ignored, since_s=first.made_at)
        )
        while True:
            changes = await self._changes(watched)
            while changes:
                ref = next((version.ref for version in self._registry.versions() if _source(version) == source), None)
                if ref is None:
                    return
                changes = await self._reload(ref, watched, changes[0])

    async def _reload(self, ref: ModelRef, watched: WatchedFiles, changed: Path) -> list[Path]:
        """Reload when the files have come to rest. Returns what has changed meanwhile: an attempt that is out of date
        is given up."""
        while await self._changes(watched):
            pass
        attempt = asyncio.ensure_future(self._registry.reload(ref))
        try:
            while not attempt.done():
                changes = await self._changes(watched, attempt)
                if changes and not attempt.done():
                    return changes
            served = attempt.result()
        except ShuttingDown:
            return []  # or the model was unregistered meanwhile
        except (FlambeauError, OSError) as error:
            logger.error("Model %s stays what it was: %s has changed, but does not load: %s", ref.name, changed, error)
            return changes
        finally:
            if not attempt.done():
                attempt.cancel()
                await asyncio.wait((attempt,))
        logger.info("Model %s reloaded: %s has changed.", ref.name, changed)
        self._on_reloaded(served, changed)
        return changes

    async def _changes(self, watched: WatchedFiles, attempt: asyncio.Future[ModelRef] | None = None) -> list[Path]:
        """What has changed a moment later, or when the attempt is over."""
        if attempt is None:
            await asyncio.sleep(self._poll_s)
        else:
            await asyncio.wait((attempt,), timeout=self._poll_s)
        return await asyncio.get_running_loop().run_in_executor(None, watched.changes)


def _source(version: ModelVersion) -> _Source:
    return _Source(version.ref.name, version.url)
