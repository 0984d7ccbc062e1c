"""The registry without workers: what is listed, and what becomes of calls whose client leaves."""

from __future__ import annotations

import asyncio
import functools
import shutil
import threading
from contextlib import asynccontextmanager

import pytest

from flambeau.api import Registration
from flambeau.archive.store import ModelStore
from flambeau.config.server import ServerConfig
from flambeau.errors import InvalidModel, ModelNotFound, ShuttingDown
from flambeau.registry.models import Registry
from flambeau.request import ModelRef
from tests.serving import write_model

TIMEOUT_S = 20


class SlowStore(ModelStore):
    """A store whose downloads take as long as the test wants."""

    def __init__(self, folder, source):
        (folder / "store").mkdir()
        super().__init__(folder / "store", folder / "temporary", (), False)
        self._source = source
        self.has_begun = threading.Event()
        self.may_end = threading.Event()
        self.removed = []

    def fetch(self, url):
        self.has_begun.set()
        assert self.may_end.wait(TIMEOUT_S)
        return shutil.copy(self._source, self.root / "m.mar")

    def remove_downloaded(self, path):
        super().remove_downloaded(path)
        self.removed.append(path.name)


class Observer:
    """Counts what it is told."""

    def __init__(self, registry):
        self.registry = registry
        self.seen = []

    def models_changed(self):
        self.seen.append(sorted(self.registry().snapshot()))

    def batch_done(self, reply, seconds): ...

    def worker_line(self, version, worker_id, line, is_error): ...

    def worker_loaded(self, version, worker_id, seconds): ...


class Bench:
    def __init__(self, folder, *, archive=None):
        self.store = SlowStore(folder, archive)
        self.observer = Observer(lambda: self.registry)
        self.registry = Registry(ServerConfig(), self.store, self.observer)

    async def downloading(self):
        """A client's call to register a model, in the middle of its download."""
        call = asyncio.ensure_future(self.registry.register(Registration(url="https://x/m.mar", initial_workers=0)))
        await asyncio.get_running_loop().run_in_executor(None, self.store.has_begun.wait, TIMEOUT_S)
        return call


def scenario(test):
    """Runs a test on an event loop, with a folder and a time limit."""

    @functools.wraps(test)
    def run(tmp_path):
        asyncio.run(asyncio.wait_for(test(tmp_path), TIMEOUT_S))

    del run.__wrapped__  # pytest looks there for fixtures
    run.__annotations__ = {}
    return run


@asynccontextmanager
async def opened(folder, **options):
    bench = Bench(folder, **options)
    try:
        yield bench
    finally:
        bench.store.may_end.set()
        await bench.registry.stop()


def archive_of(folder):
    """A model in an archive of its own."""
    return shutil.make_archive(str(folder / "m"), "zip", write_model(folder, "m"))


async def leave(call):
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def until(condition):
    while not condition():  # noqa: ASYNC110 - what is waited for is on the disk and in the registry
        await asyncio.sleep(0.01)


@scenario
async def test_a_model_is_registered_even_if_the_client_leaves_while_it_is_downloaded(folder):
    async with opened(folder, archive=archive_of(folder)) as bench:
        await leave(await bench.downloading())
        bench.store.may_end.set()
        await until(lambda: bench.observer.seen)
        assert bench.observer.seen == [["m"]]
        assert bench.registry.describe(ModelRef("m")).model_version == "1.0"


@scenario
async def test_a_download_that_is_no_model_does_not_stay_even_if_the_client_leaves(folder):
    broken = folder / "broken"
    broken.write_bytes(b"no archive")
    async with opened(folder, archive=broken) as bench:
        await leave(await bench.downloading())
        bench.store.may_end.set()
        await until(lambda: bench.store.removed)
        assert not list(bench.store.root.iterdir())
        assert not bench.observer.seen


@scenario
async def test_stopping_in_mid_download_leaves_neither_the_file_nor_the_model(folder):
    async with opened(folder, archive=archive_of(folder)) as bench:
        call = await bench.downloading()
        stopping = asyncio.ensure_future(bench.registry.stop())
        await asyncio.sleep(0)
        bench.store.may_end.set()
        await stopping
        with pytest.raises(ShuttingDown):
            await call
        assert not list(bench.store.root.iterdir())
        assert not list(folder.glob("temporary/models/*"))
        assert not bench.observer.seen


@scenario
async def test_an_unregistered_model_is_gone_and_noted_even_if_the_client_leaves_at_once(folder):
    async with opened(folder) as bench:
        registry = bench.registry
        await registry.register(Registration(url=str(write_model(folder, "m")), initial_workers=0))
        call = asyncio.ensure_future(registry.unregister(ModelRef("m")))
        await asyncio.sleep(0)
        with pytest.raises(ModelNotFound):
            await registry.unregister(ModelRef("m"))
        await leave(call)
        assert bench.observer.seen == [["m"], []]


@scenario
async def test_what_cannot_be_registered_is_not_noted(folder):
    (folder / "empty").mkdir()
    async with opened(folder) as bench:
        with pytest.raises(InvalidModel):
            await bench.registry.register(Registration(url=str(folder / "empty")))
        assert not bench.observer.seen
