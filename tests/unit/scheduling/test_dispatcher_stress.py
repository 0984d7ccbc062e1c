"""Some twenty thousand jobs among workers that die, stop, lie and fail, and callers that leave."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest

from flambeau.config.model import BatchingConfig, BatchPolicy, ModelConfig
from flambeau.errors import HandlerFailed, QueueFull, QueueTimedOut, WorkerDied
from flambeau.request import InferenceReply, ModelRef, RowError
from flambeau.scheduling.dispatcher import Dispatcher
from flambeau.testing.clock import FakeClock, run_in_fake_time
from flambeau.testing.workers import FakeCaller, FakeWorker, request

JOBS = 20_000
WORKERS = 3


class ErraticWorker(FakeWorker):
    """Takes its time over each batch, and then mostly answers it."""

    def __init__(self, worker_id, seats, source, on_end):
        self._source = source
        self._on_end = on_end
        self._has_ended = False
        self._is_working = False
        super().__init__(worker_id, seats)

    def send(self, batch):
        super().send(batch)
        self._begin()

    def kill(self, reason):
        super().kill(reason)
        asyncio.get_running_loop().call_soon(self._end, self.die)

    def _begin(self):
        if self.unanswered and not self._is_working:
            self._is_working = True
            asyncio.get_running_loop().call_later(self._source.expovariate(1 / 0.001), self._finish)

    def _finish(self):
        if self._has_ended:
            return
        self._is_working = False
        chance = self._source.random()
        if chance < 0.01 or any(row.request_id.startswith("killer") for row in self.unanswered[0].rows):
            self._end(self.die)
        elif chance < 0.02:
            self._end(self.stop)
        elif chance < 0.023:
            self.answer([InferenceReply(b"one too many")] * (len(self.unanswered[0].rows) + 1))
        elif chance < 0.026:
            self._is_working = True  # hangs
        else:
            names = [row.request_id for row in self.unanswered[0].rows]
            error = RowError.FAILED if chance < 0.1 else RowError.NONE
            self.answer([InferenceReply(name.encode(), error=error) for name in names], seconds=0.0005)
            self._begin()

    def _end(self, way):
        if not self._has_ended:
            self._has_ended = True
            way()
            self._on_end()


@pytest.mark.parametrize("policy", list(BatchPolicy))
@pytest.mark.parametrize("retries", [True, False], ids=["retries", "no retries"])
def test_every_caller_is_answered_exactly_once_whatever_happens(policy, retries):
    clock = FakeClock()
    source = random.Random(f"{policy.value} {retries}")
    config = ModelConfig(
        batching=BatchingConfig(batch_size=8, max_batch_delay_s=0.002, policy=policy),
        queue_jobs=40,
        queue_bytes=4_000,
        response_timeout_s=0.4,
        retry_on_worker_death=retries,
    )

    async def scenario():
        loop = asyncio.get_running_loop()
        reported = []
        dispatcher = Dispatcher(ModelRef("m", "1.0"), config, lambda reply, _: reported.append(reply), clock)
        workers = 0

        def new_worker():
            nonlocal workers
            workers += 1
            ErraticWorker(
                workers, dispatcher, source, lambda: loop.call_later(source.expovariate(1 / 0.01), new_worker)
            )

        for _ in range(WORKERS):
            new_worker()
        callers: dict[str, FakeCaller] = {}
        left: set[str] = set()
        refused = 0

        def leave(name, job):
            if not callers[name].outcomes:
                left.add(name)
            job.abandon()

        for number in range(JOBS):
            name = f"{'killer' if source.random() < 0.002 else 'job'}-{number}"
            caller = FakeCaller()
            try:
                job = dispatcher.submit(request(name, source.randrange(200)), caller, clock.monotonic())
            except QueueFull:
                refused += 1
            else:
                callers[name] = caller
                if source.random() < 0.1:
                    loop.call_later(source.expovariate(1 / 0.005), leave, name, job)
            if source.random() < 0.2:
                await asyncio.sleep(source.expovariate(1 / 0.004))
            if number % 5000 == 2500:
                batching = replace(config.batching, batch_size=source.choice([1, 4, 16]))
                dispatcher.reconfigure(replace(config, batching=batching))
        assert await dispatcher.drain(timeout_s=60)
        for _ in range(3):
            await asyncio.sleep(1.0)

        assert len(callers) + refused == JOBS
        assert dispatcher.queue_statistics().depth == dispatcher.queue_statistics().depth_bytes == 0
        assert dispatcher.in_flight == 0
        for name, caller in callers.items():
            assert len(caller.outcomes) == (name not in left), name
        kinds = Counter(type(caller.outcome) for name, caller in callers.items() if name not in left)
        for name, caller in callers.items():
            if name not in left and isinstance(caller.outcome, InferenceReply):
                assert caller.outcome.body == name.encode(), "somebody else's answer"
                assert not name.startswith("killer")
        assert kinds[InferenceReply] > 0.5 * len(callers)
        assert set(kinds) <= {InferenceReply, HandlerFailed, WorkerDied, QueueTimedOut}
        assert workers > 20
        assert left
        assert refused
        dispatcher.close()

    run_in_fake_time(scenario(), clock)
