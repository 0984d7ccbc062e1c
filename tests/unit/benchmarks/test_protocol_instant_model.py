import asyncio
import gc
import weakref

from benchmarks.protocols.instant import InstantEcho, InstantTicket
from flambeau.request import InferenceReply, InferenceRequest, ModelRef


class Waiting:
    """A caller that knows its ticket, as the frontend's does."""

    ticket: InstantTicket

    def __init__(self) -> None:
        self.outcome: InferenceReply | None = None

    def answer(self, outcome: InferenceReply) -> None:
        self.outcome = outcome


def submit(model: InstantEcho) -> Waiting:
    caller = Waiting()
    caller.ticket = model.submit(InferenceRequest("id", (), (("body", "", b"hello"),)), caller, 1.0)
    return caller


def test_answers_on_the_next_turn_with_the_body():
    async def run() -> None:
        caller = submit(InstantEcho(ModelRef("echo", "1.0")))
        assert caller.outcome is None
        await asyncio.sleep(0)
        assert caller.outcome == InferenceReply(b"hello")

    asyncio.run(run())


def test_does_not_answer_a_caller_who_has_left():
    async def run() -> None:
        caller = submit(InstantEcho(ModelRef("echo", "1.0")))
        caller.ticket.abandon()
        await asyncio.sleep(0)
        assert caller.outcome is None

    asyncio.run(run())


def test_leaves_nothing_to_the_garbage_collector():
    async def run() -> None:
        caller = weakref.ref(submit(InstantEcho(ModelRef("echo", "1.0"))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert caller() is None

    gc.disable()
    try:
        asyncio.run(run())
    finally:
        gc.enable()
