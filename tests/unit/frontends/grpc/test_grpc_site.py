"""Calls on connections: how each way of beginning, ending and never ending one is answered."""

from __future__ import annotations

import asyncio
import gzip
import logging
import time

import pytest
from grpc_frames import message
from grpc_sites import AccessLines, Client, Limits, MemoryTransport, on_loop, site_of, turn

from flambeau.errors import BadRequest, Unauthorized
from flambeau.frontends.grpc import frames
from flambeau.frontends.grpc.call import Method
from flambeau.frontends.grpc.errors import INFERENCE_ERRORS
from flambeau.frontends.grpc.frames import ErrorCode
from flambeau.frontends.grpc.status import Status

SAY = "test.Echo/Say"


class Echo:
    """Methods that answer at once, later, never, wrongly."""

    def __init__(self):
        self.held = []
        self.abandoned = []
        self.has_abandoned = asyncio.Event()
        self.inboxes = []

    def methods(self):
        handles = {"Say": self._say, "Hold": self._hold, "Wait": self._wait, "Fail": self._fail, "Refuse": self._refuse}
        return [
            *(
                Method(path=f"test.Echo/{name}", errors=INFERENCE_ERRORS, handle=handle)
                for name, handle in handles.items()
            ),
            Method(path="test.Echo/Each", errors=INFERENCE_ERRORS, open=self._open),
        ]

    def _say(self, call, content):
        call.reply(call.request_id.encode() if content == b"id" else content)

    def _hold(self, call, content):
        self.held.append(call)
        call.on_abandon = lambda: self._note_abandoned(content)

    def _note_abandoned(self, content):
        self.abandoned.append(content)
        self.has_abandoned.set()

    def _wait(self, call, content):
        async def work():
            try:
                await asyncio.Event().wait() if content else await asyncio.sleep(0)
            except asyncio.CancelledError:
                self.abandoned.append(content)
                raise
            call.reply(b"waited")

        call.run(work)

    def _fail(self, call, content):
        if content == b"later":

            async def work():
                raise RuntimeError("secret")

            call.run(work)
        else:
            raise RuntimeError("secret")

    def _refuse(self, call, content):
        raise BadRequest(content.decode())

    def _open(self, call):
        self.inboxes.append(EchoEach(call))
        return self.inboxes[-1]


class EchoEach:
    def __init__(self, call):
        self.call = call

    def message(self, content):
        self.call.send(content)

    def end(self):
        self.call.finish(Status.OK)

    def drain(self):
        self.call.finish(Status.UNAVAILABLE, "going")


def port(limits=None, **options):
    echo = Echo()
    return echo, site_of(echo.methods(), limits, **options)


# --- calls that work --------------------------------------------------------------------------------------------------


@on_loop
async def test_a_call_is_answered():
    _, site = port()
    answer = await Client(site).call(SAY, b"hello")
    assert (answer.messages, answer.status, answer.text) == ([b"hello"], 0, "")
    assert answer.headers["content-type"] == "application/grpc"


@on_loop
async def test_many_calls_on_one_connection_end_in_any_order():
    echo, site = port()
    client = Client(site)
    answers = [client.start("test.Echo/Hold", b"%d" % number) for number in range(5)]
    for number, call in reversed(list(enumerate(echo.held))):
        call.reply(b"%d" % number)
    for number, answer in enumerate(answers):
        assert (await client.finished(answer)).messages == [b"%d" % number]


@on_loop
async def test_a_message_in_many_frames_compressed_or_with_its_end_apart_is_one_message():
    _, site = port()
    client = Client(site)
    client.send(client.headers(path=f"/{SAY}"))
    for byte in message(b"slowly"):
        client.send(client.data(bytes((byte,)), ended=False))
    client.send(client.data(b""))
    assert (await client.finished(client.answer)).messages == [b"slowly"]
    client.send(client.headers(("grpc-encoding", "gzip"), path=f"/{SAY}"))
    client.send(client.data(message(gzip.compress(b"small"), compressed=True)))
    assert (await client.finished(client.answer)).messages == [b"small"]


@on_loop
async def test_a_stream_of_messages_is_answered_one_by_one():
    _, site = port()
    client = Client(site)
    client.send(client.headers(path="/test.Echo/Each"))
    answer = client.answer
    for content in (b"a", b"", b"b"):
        client.send(client.data(message(content), ended=False))
        client.receive()
        assert answer.messages[-1] == content
    client.send(client.data(b""))
    assert (await client.finished(answer)).status == 0


@on_loop
async def test_a_request_id_is_the_clients_or_a_fresh_one():
    _, site = port()
    client = Client(site)
    given = await client.call(SAY, b"id", headers=[("x-request-id", "mine")])
    fresh = [(await client.call(SAY, b"id")).messages[0] for _ in range(2)]
    assert given.messages == [b"mine"]
    assert len({*fresh, b"mine"}) == 3


# --- calls that fail --------------------------------------------------------------------------------------------------


@on_loop
async def test_what_is_wrong_with_a_call_is_said_and_the_connection_goes_on():
    _, site = port()
    client = Client(site)
    for path, contents, status, text in (
        ("test.Echo/Shout", [b"x"], Status.UNIMPLEMENTED, "Method not found: test.Echo/Shout"),
        ("nonsense", [b"x"], Status.UNIMPLEMENTED, "Method not found: nonsense"),
        ("test.Echo/Refuse", [b"no"], Status.INTERNAL, "no\nBadRequestException.()"),
        (SAY, [], Status.INTERNAL, f"{SAY} takes one message, and none was sent."),
        (SAY, [b"one", b"two"], Status.INTERNAL, f"{SAY} takes one message."),
        (SAY, [bytes(1001)], Status.RESOURCE_EXHAUSTED, "Message of more than 1000 bytes (max_request_size)."),
    ):
        answer = await client.call(path, *contents)
        assert (answer.status, answer.text) == (status, text)
    assert (await client.call(SAY, b"well")).status == 0


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\0\x7f\xff\xff\xff", Status.RESOURCE_EXHAUSTED),
        (b"\0\0\0\0\x09cut", Status.INTERNAL),
        (b"\0\0", Status.INTERNAL),
        (b"\x07\0\0\0\0", Status.INTERNAL),
        (b"\x01\0\0\0\x01x", Status.INTERNAL),
    ],
)
@on_loop
async def test_bytes_that_are_no_message_end_the_call_with_a_reason(sent, status):
    _, site = port()
    client = Client(site)
    client.send(client.headers(path=f"/{SAY}") + client.data(sent))
    answer = await client.finished(client.answer)
    assert answer.status == status
    assert answer.text
    assert (await client.call(SAY, b"well")).status == 0


@on_loop
async def test_a_claim_of_two_gigabytes_is_refused_at_once_and_takes_no_memory():
    _, site = port()
    client = Client(site)
    client.send(client.headers(path=f"/{SAY}") + client.data(b"\0\x80\0\0\0", ended=False))
    answer = await client.finished(client.answer)
    assert (answer.status, answer.has_ended) == (Status.RESOURCE_EXHAUSTED, True)
    assert answer.reset in (None, ErrorCode.NO_ERROR)
    client.send(client.data(bytes(100), ended=False))
    assert client.connection.incomplete_bytes == 0


@on_loop
async def test_messages_that_are_incomplete_have_a_limit_together():
    _, site = port(Limits(max_request_bytes=1000), max_calls=100)
    client = Client(site)
    for _ in range(17):
        client.send(client.headers(path=f"/{SAY}") + client.data(message(bytes(990))[:-1], ended=False))
    refused = await client.finished(client.answer)
    assert (refused.status, client.connection.incomplete_bytes) == (Status.RESOURCE_EXHAUSTED, 16 * 994)
    client.send(client.data(b"\0", stream_id=1))
    assert (await client.finished(client.answers[1])).status == 0
    assert client.connection.incomplete_bytes == 15 * 994


@pytest.mark.parametrize("content", [b"now", b"later"])
@on_loop
async def test_a_fault_is_logged_and_the_client_learns_only_where_to_look(content, caplog):
    _, site = port()
    with caplog.at_level(logging.ERROR):
        answer = await Client(site).call("test.Echo/Fail", content, headers=[("x-request-id", "r1")])
    assert answer.status == Status.INTERNAL
    assert answer.text.startswith("Internal server error, see the log for request r1.")
    assert "secret" in caplog.text


@on_loop
async def test_what_is_not_grpc_is_told_so_in_http():
    _, site = port()
    client = Client(site)
    client.send(client.header_frame([(":method", "GET"), (":scheme", "http"), (":path", "/ping")], ended=True))
    assert (await client.finished(client.answer)).headers == {":status": "415"}


@on_loop
async def test_a_client_of_http_1_is_shown_the_door():
    _, site = port()
    transport = MemoryTransport.to(site)
    transport.protocol.data_received(b"GET /ping HTTP/1.1\r\n\r\n")
    assert transport.is_closed
    assert b"this port speaks gRPC" in transport.written
    await turn()


# --- tokens -----------------------------------------------------------------------------------------------------------


@on_loop
async def test_a_call_without_the_token_is_refused_whatever_it_asks_and_not_logged():
    def check(authorization):
        if authorization != b"Bearer right":
            raise Unauthorized("Token Authorization failed.")

    lines = AccessLines()
    _, site = port(check=check, access_log=lines)
    client = Client(site)
    for path in (SAY, "test.Echo/Shout"):
        for headers in ([], [("authorization", "Bearer wrong")]):
            answer = await client.call(path, b"x", headers=headers)
            assert (answer.status, answer.text) == (Status.PERMISSION_DENIED, "Token Authorization failed.")
    assert lines == []
    assert (await client.call(SAY, b"x", headers=[("authorization", "Bearer right")])).status == 0
    assert lines == [("192.0.2.1:4321", SAY, 0)]


# --- deadlines and clients that leave ---------------------------------------------------------------------------------


@on_loop
async def test_a_deadline_ends_the_call_and_its_method_is_told():
    echo, site = port()
    client = Client(site)
    answer = client.start("test.Echo/Hold", b"x", headers=[("grpc-timeout", "1m")])
    await asyncio.wait_for(echo.has_abandoned.wait(), 10)
    client.receive()
    assert (answer.status, echo.abandoned) == (Status.DEADLINE_EXCEEDED, [b"x"])
    echo.held[0].reply(b"too late")
    client.receive()
    assert answer.messages == []


@on_loop
async def test_an_answer_in_time_ends_the_deadline():
    lines = AccessLines()
    _, site = port(access_log=lines)
    client = Client(site)
    assert (await client.call(SAY, b"x", headers=[("grpc-timeout", "10m")])).status == 0
    await asyncio.sleep(0.02)
    assert [status for *_, status in lines] == [0]


@on_loop
async def test_a_time_out_that_cannot_be_read_ends_the_call():
    _, site = port()
    answer = await Client(site).call(SAY, b"x", headers=[("grpc-timeout", "soon")])
    assert (answer.status, answer.text) == (Status.INTERNAL, "The value of grpc-timeout cannot be read.")


@pytest.mark.parametrize("path", ["test.Echo/Hold", "test.Echo/Wait"])
@on_loop
async def test_a_client_that_cancels_or_is_gone_is_told_to_the_method(path):
    lines = AccessLines()
    echo, site = port(access_log=lines)
    client = Client(site)
    client.start(path, b"first")
    client.start(path, b"second")
    await turn()
    client.send(frames.reset(1, ErrorCode.CANCEL))
    await turn()
    assert echo.abandoned == [b"first"]
    client.transport.close()
    await turn()
    assert echo.abandoned == [b"first", b"second"]
    assert [status for *_, status in lines] == [Status.CANCELLED, Status.CANCELLED]


@on_loop
async def test_a_method_that_has_answered_is_not_told_that_its_client_left():
    echo, site = port()
    client = Client(site)
    await client.call("test.Echo/Wait", b"")
    client.start("test.Echo/Hold", b"x")
    echo.held[0].reply(b"done")
    client.transport.close()
    await turn()
    assert echo.abandoned == []


# --- connections ------------------------------------------------------------------------------------------------------


@on_loop
async def test_a_connection_too_many_is_closed_and_those_before_it_stay():
    _, site = port(Limits(max_connections=2))
    clients = [Client(site) for _ in range(3)]
    clients[2].receive()
    assert [client.transport.is_closed for client in clients] == [False, False, True]
    assert clients[2].goodbye is ErrorCode.ENHANCE_YOUR_CALM
    clients[0].transport.close()
    await turn()
    assert (await Client(site).call(SAY, b"x")).status == 0


@on_loop
async def test_a_client_that_is_gone_before_it_is_seen_does_no_harm():
    _, site = port()
    transport = MemoryTransport(site.connect(), peer=None)
    transport.protocol.connection_made(transport)
    transport.protocol.connection_lost(ConnectionResetError())
    assert (await Client(site).call(SAY, b"x")).status == 0


@on_loop
async def test_a_broken_rule_ends_the_connection_and_its_calls():
    echo, site = port()
    client = Client(site)
    client.start("test.Echo/Hold", b"x")
    client.send(frames.frame(frames.PING, 0, 0, b"short"))
    client.receive()
    assert (client.goodbye, client.transport.is_closed) == (ErrorCode.FRAME_SIZE_ERROR, True)
    assert echo.abandoned == [b"x"]


@on_loop
async def test_a_request_that_is_not_complete_in_time_is_ended_and_one_that_waits_is_not():
    _, site = port(Limits(request_timeout_s=20))
    client = Client(site)
    waiting = client.start("test.Echo/Hold", b"x")
    client.send(client.headers(path=f"/{SAY}"))
    late = client.answer
    client.send(client.headers(path="/test.Echo/Each"))
    client.connection.sweep(time.monotonic() + 19)
    client.receive()
    assert not late.has_ended
    client.connection.sweep(time.monotonic() + 21)
    assert (await client.finished(late)).status == Status.DEADLINE_EXCEEDED
    assert [answer.has_ended for answer in (waiting, client.answer)] == [False, False]
    assert not client.transport.is_closed


@on_loop
async def test_a_silent_client_is_asked_and_then_cut_off():
    _, site = port(Limits(idle_timeout_s=100))
    client = Client(site)
    now = time.monotonic()
    client.connection.sweep(now + 99)
    client.connection.sweep(now + 101)
    client.receive()
    assert client.frames[-1].kind == frames.PING
    client.connection.sweep(now + 120)
    assert not client.transport.is_closed
    client.connection.sweep(now + 122)
    assert client.transport.is_aborted
    await turn()


@on_loop
async def test_a_silent_client_that_answers_stays():
    _, site = port(Limits(idle_timeout_s=0))
    client = Client(site)
    client.connection.sweep(asked_at := time.monotonic())
    client.send(frames.frame(frames.PING, frames.ACK, 0, b"flambeau"))
    client.connection.sweep(asked_at + 21)
    assert not client.transport.is_closed


@on_loop
async def test_a_client_that_never_says_what_it_speaks_is_cut_off():
    _, site = port(Limits(request_timeout_s=20))
    transport = MemoryTransport.to(site)
    transport.protocol.data_received(frames.PREFACE[:10])
    transport.protocol.sweep(time.monotonic() + 19)
    assert not transport.is_closed
    transport.protocol.sweep(time.monotonic() + 21)
    assert transport.is_aborted
    await turn()


@on_loop
async def test_a_client_that_does_not_read_is_not_read_and_then_cut_off():
    _, site = port(Limits(write_timeout_s=10))
    client = Client(site)
    client.connection.pause_writing()
    assert not client.transport.is_reading
    client.connection.resume_writing()
    assert client.transport.is_reading
    client.connection.sweep(time.monotonic() + 11)
    client.connection.pause_writing()
    client.connection.sweep(time.monotonic() + 11)
    assert client.transport.is_aborted
    await turn()


@on_loop
async def test_an_old_connection_takes_no_new_calls_and_those_under_way_have_their_grace():
    echo, site = port(Limits(idle_timeout_s=1000), max_age_s=100.0, max_age_grace_s=50.0)
    client = Client(site)
    answer = client.start("test.Echo/Hold", b"x")
    now = time.monotonic()
    client.connection.sweep(now + 89)
    client.receive()
    assert client.goodbye is None
    client.connection.sweep(now + 111)
    client.receive()
    assert client.goodbye is ErrorCode.NO_ERROR
    assert (await client.call(SAY, b"new")).reset is ErrorCode.REFUSED_STREAM
    client.connection.sweep(now + 139)
    assert not client.transport.is_closed
    assert not answer.has_ended
    client.connection.sweep(now + 161)
    assert client.transport.is_aborted
    assert echo.abandoned == [b"x"]
    await turn()


# --- stopping ---------------------------------------------------------------------------------------------------------


@on_loop
async def test_a_site_that_drains_finishes_its_calls_takes_no_new_ones_and_closes():
    echo, site = port()
    busy, idle = Client(site), Client(site)
    answer = busy.start("test.Echo/Hold", b"x")
    site.drain()
    closing = asyncio.ensure_future(site.close(10.0))
    await turn()
    assert [client.transport.is_closed for client in (busy, idle)] == [False, True]
    assert (await busy.call(SAY, b"new")).reset is ErrorCode.REFUSED_STREAM
    echo.held[0].reply(b"done")
    assert (await busy.finished(answer)).messages == [b"done"]
    await closing
    assert busy.transport.is_closed
    assert not busy.transport.is_aborted


@on_loop
async def test_a_call_that_could_go_on_for_ever_comes_to_an_end_with_the_site():
    _, site = port()
    client = Client(site)
    client.send(client.headers(path="/test.Echo/Each"))
    await site.close(10.0)
    client.receive()
    assert (client.answer.status, client.answer.text) == (Status.UNAVAILABLE, "going")


@on_loop
async def test_what_does_not_finish_in_time_is_cut_off(caplog):
    echo, site = port()
    client = Client(site)
    client.start("test.Echo/Hold", b"x")
    client.start("test.Echo/Wait", b"y")
    with caplog.at_level(logging.WARNING):
        await site.close(0.01)
    assert client.transport.is_aborted
    assert sorted(echo.abandoned) == [b"x", b"y"]
    assert "1 gRPC connections are cut off at stop" in caplog.text
    await turn()


@on_loop
async def test_every_call_has_its_line():
    lines = AccessLines()
    _, site = port(access_log=lines)
    client = Client(site)
    await client.call(SAY, b"x")
    await client.call("test.Echo/Refuse", b"no")
    await client.call("test.Echo/Shout", b"x")
    assert lines == [
        ("192.0.2.1:4321", SAY, 0),
        ("192.0.2.1:4321", "test.Echo/Refuse", Status.INTERNAL),
        ("192.0.2.1:4321", "test.Echo/Shout", Status.UNIMPLEMENTED),
    ]
