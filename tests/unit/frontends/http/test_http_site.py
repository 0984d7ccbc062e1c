import asyncio
import logging

import pytest
from http_connections import Limits, connect, post
from http_sites import InferencePort, parse_replies, turn

from flambeau.frontends.http.site import HttpSite
from flambeau.request import InferenceReply, ModelRef
from flambeau.testing.inference import FakeServedModel


class HeldModel(FakeServedModel):
    """Answers when it is told to."""

    def __init__(self):
        super().__init__(ModelRef("m", "1.0"), lambda request: InferenceReply(b"done"))
        self.callers = []

    def _settle(self, request, caller, ticket):
        self.callers.append(caller)

    def release(self):
        for caller in self.callers:
            caller.answer(InferenceReply(b"done"))


def on_loop(test):
    """Run a test that is a coroutine function."""

    def run():
        asyncio.run(test())

    run.__name__ = test.__name__
    return run


@on_loop
async def test_a_drained_site_answers_what_is_under_way_and_closes():
    model = HeldModel()
    site = InferencePort(model).site()
    busy, idle = connect(site)[1], connect(site)[1]
    busy.receive(post("/predictions/m"))
    await turn()
    site.drain()
    assert idle.is_closing()
    assert not busy.is_closing()
    model.release()
    (reply,) = parse_replies(bytes(busy.written))
    assert (reply.body, reply["connection"]) == (b"done", "close")
    for transport in (busy, idle):
        transport.lose()
    await site.close(5.0)


@on_loop
async def test_a_connection_that_comes_while_the_site_drains_is_closed_after_its_answer():
    site = InferencePort(HeldModel()).site()
    site.drain()
    _, transport = connect(site)
    transport.receive(b"GET /ping HTTP/1.1\r\n\r\n")
    await turn()
    (reply,) = parse_replies(bytes(transport.written))
    assert (reply.status, reply["connection"]) == (503, "close")
    transport.lose()
    await site.close(5.0)


@on_loop
async def test_what_does_not_end_in_time_is_cut_off():
    site = InferencePort(HeldModel()).site()
    _, transport = connect(site)
    transport.receive(post("/predictions/m"))
    await site.close(0.0)
    assert transport.is_aborted


@on_loop
async def test_a_connection_too_many_is_answered_503_and_the_next_finds_room_again():
    site = InferencePort(HeldModel(), limits=Limits(max_connections=1)).site()
    first, second = connect(site)[1], connect(site)[1]
    (reply,) = parse_replies(bytes(second.written))
    assert (reply.status, reply["retry-after"], reply["connection"]) == (503, "1", "close")
    assert b"Too many connections (limit: 1)." in reply.body
    assert not first.written
    for transport in (first, second):
        transport.lose()
    third = connect(site)[1]
    assert not third.written
    third.lose()
    await site.close(5.0)


@pytest.mark.parametrize("kind", [ValueError, KeyError])
def test_an_application_that_raises_is_logged_and_its_client_told_the_request_id(caplog, kind):
    async def app(scope, receive, send):
        raise kind("secret")

    async def exchange():
        port = InferencePort(HeldModel())
        real = port.site()
        site = HttpSite(app, real._responder, Limits())
        _, transport = connect(site)
        transport.receive(b"GET / HTTP/1.1\r\n\r\n")
        await turn()
        transport.lose()
        await asyncio.gather(site.close(5.0), real.close(5.0))
        return parse_replies(bytes(transport.written))

    with caplog.at_level(logging.ERROR):
        (reply,) = asyncio.run(exchange())
    assert reply.status == 500
    assert reply["x-request-id"].encode() in reply.body
    assert b"secret" not in reply.body
    assert caplog.records[0].exc_info[0] is kind


@on_loop
async def test_who_leaves_a_cold_route_cancels_it():
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    port = InferencePort(HeldModel())
    real = port.site()
    site = HttpSite(app, real._responder, Limits())
    _, transport = connect(site)
    transport.receive(b"GET / HTTP/1.1\r\n\r\n")
    await asyncio.wait_for(began.wait(), 5)
    transport.lose()
    await asyncio.wait_for(cancelled.wait(), 5)
    assert not transport.written
    await asyncio.gather(site.close(5.0), real.close(5.0))
