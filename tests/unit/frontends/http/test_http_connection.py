import gc
import time
import tracemalloc
import weakref

import pytest
from http_connections import FakeSite, Limits, chunked, connect, leave_open, post
from hypothesis import example, given, settings
from hypothesis import strategies as st

LARGE = 64 * 1024
"""From here a body is received into its own buffer."""


def seen(site):
    return [(e.method, e.target, e.keep_alive, e.headers, bytes(e.body)) for e in site.exchanges]


def send_in_pieces(data, cuts, **site_options):
    site = FakeSite(**site_options)
    _, transport = connect(site)
    begin = 0
    for cut in [*sorted(cuts), len(data)]:
        transport.receive(data[begin:cut])
        begin = cut
    return site, transport


def later(transport, seconds):
    """The time at which the sweeper comes."""
    return time.monotonic() + seconds


# --- reading ---------------------------------------------------------------------------------------------------------

SMALL_REQUESTS = [
    b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n",
    post("/p", b"body", "X-Request-Id: 7", "Accept: */*"),
    post("/empty"),
    chunked("/c", b"abc", b"d" * 300, trailers=["X-Late: 1", "Host: y"]),
    chunked("/none"),
    post("/expect", b"later", "Expect: 100-continue"),
    post("/h2c", b"body", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    chunked("/h2c-chunked", b"abc", headers=["Connection: upgrade", "Upgrade: h2c"]),
    b"GET /ws HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"HEAD /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"\r\nOPTIONS * HTTP/1.1\r\n\r\n",
]


@given(st.lists(st.sampled_from(SMALL_REQUESTS), min_size=1, max_size=5), st.lists(st.integers(0, 2000), max_size=12))
def test_any_split_of_a_stream_of_requests_gives_the_same_exchanges_and_replies(requests, cuts):
    data = b"".join(requests)
    whole, whole_transport = send_in_pieces(data, [])
    split, split_transport = send_in_pieces(data, [cut % (len(data) + 1) for cut in cuts])
    assert seen(split) == seen(whole)
    assert split_transport.written == whole_transport.written
    assert len(whole.exchanges) == len(requests)


@pytest.mark.parametrize("request_bytes", SMALL_REQUESTS)
def test_a_request_may_come_byte_by_byte(request_bytes):
    data = request_bytes * 2
    whole, _ = send_in_pieces(data, [])
    bytewise, transport = send_in_pieces(data, range(1, len(data)))
    assert seen(bytewise) == seen(whole)
    assert not transport.is_closing()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(LARGE - 2, LARGE + 70_000),
    st.lists(st.integers(0, LARGE + 80_000), max_size=4),
    st.lists(st.integers(-3, 3), max_size=3),
)
def test_a_large_body_is_the_same_however_it_is_split_and_the_next_request_follows(size, cuts, near_ends):
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    first = post("/large", body)
    data = first + post("/next", b"ok") + b"GET /last HTTP/1.1\r\n\r\n"
    header_end = len(first) - size
    at_ends = [header_end + offset for offset in near_ends] + [len(first) + offset for offset in near_ends]
    site, transport = send_in_pieces(data, [cut % len(data) for cut in cuts + at_ends])
    assert [(e.target, e.body) for e in site.exchanges] == [(b"/large", body), (b"/next", b"ok"), (b"/last", b"")]
    assert transport.written == b"</large %d></next 2></last 0>" % size


@pytest.mark.parametrize("size", [1_000_000, 6_553_500])
def test_a_body_of_the_largest_size_is_taken(size):
    body = b"z" * size
    site, _ = send_in_pieces(post("/", body), [100, 70_000], limits=Limits(max_request_bytes=size))
    assert site.exchanges[0].body == body


def test_a_request_is_handled_once_its_last_byte_has_come_and_not_before():
    site = FakeSite()
    _, transport = connect(site)
    data = post("/", b"body")
    transport.receive(data[:-1])
    assert not site.exchanges
    transport.receive(data[-1:])
    assert len(site.exchanges) == 1


def test_trailers_are_no_headers():
    site, _ = send_in_pieces(
        chunked("/", b"abc", trailers=["X-Request-Id: late", "Authorization: Bearer x"]) + post("/next"), []
    )
    first, following = site.exchanges
    assert first.headers == [(b"Transfer-Encoding", b"chunked")]
    assert not first.noted
    assert following.noted == {b"content-length": b"0"}


def test_the_wish_for_another_protocol_is_declined_by_an_answer_over_http_1_1():
    asking = post("/", b"body", "Connection: upgrade", "Upgrade: h2c")
    site, transport = send_in_pieces(asking + post("/next", b"12"), [])
    assert [(e.target, e.body) for e in site.exchanges] == [(b"/", b"body"), (b"/next", b"12")]
    assert (b"Upgrade", b"h2c") not in site.exchanges[0].headers
    assert not transport.is_closing()


def test_a_body_in_many_tiny_chunks_takes_no_more_memory_than_its_bytes():
    site = FakeSite(on_request=leave_open, limits=Limits(max_request_bytes=200_000))
    connection, transport = connect(site)
    transport.receive(chunked("/", *[b"ab"] * 100_000)[:-5])
    held = gc.get_referents(connection)
    assert max(len(part) for part in held if isinstance(part, (list, tuple, dict))) < 100
    transport.receive(b"0\r\n\r\n")
    assert site.exchanges[0].body == b"ab" * 100_000


def test_to_announce_a_large_body_takes_no_memory_in_advance():
    site = FakeSite(limits=Limits(max_request_bytes=6_000_000))
    _, transport = connect(site)
    data = post("/", b"x" * 6_000_000)
    tracemalloc.start()
    try:
        transport.receive(data[:1000])
        transport.receive(data[1000:60_000])
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()
    transport.receive(data[60_000:1_000_000])
    transport.receive(data[1_000_000:])
    assert len(site.exchanges[0].body) == 6_000_000


# --- answering -------------------------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order_even_if_they_finish_out_of_order():
    site, transport = send_in_pieces(post("/1") + post("/2") + post("/3"), [], on_request=leave_open)
    first, second, third = site.exchanges
    third.respond(b"3")
    first.respond(b"1")
    assert transport.written == b"1"
    second.respond(b"2a", b"2b")
    assert transport.written == b"12a2b3"


def test_a_client_with_max_pipelined_requests_waiting_is_not_read_until_one_is_answered():
    limits = Limits(max_pipelined=2)
    site = FakeSite(on_request=leave_open, limits=limits)
    _, transport = connect(site)
    for number in range(4):
        transport.receive(post(f"/{number}"))
    assert len(site.exchanges) == 3  # one is being answered, two wait
    site.exchanges[0].respond(b"0")
    transport.deliver()
    assert len(site.exchanges) == 4


def test_a_paused_client_stays_paused_while_a_large_body_is_expected():
    site = FakeSite(on_request=leave_open, limits=Limits(max_pipelined=1))
    _, transport = connect(site)
    transport.receive(post("/1") + post("/2") + post("/large", b"x" * LARGE)[:1000])
    assert transport.is_reading_paused
    for exchange in list(site.exchanges):
        exchange.respond(b"")
    transport.receive(post("/large", b"x" * LARGE)[1000:])
    assert site.exchanges[-1].body == b"x" * LARGE


def test_a_client_that_does_not_read_its_replies_is_not_read_either():
    site = FakeSite()
    connection, transport = connect(site)
    connection.pause_writing()
    transport.receive(post("/1"))
    assert not site.exchanges
    connection.resume_writing()
    transport.deliver()
    assert len(site.exchanges) == 1


@pytest.mark.parametrize(
    ("head", "stays_open"),
    [
        ("GET / HTTP/1.1", True),
        ("GET / HTTP/1.1\r\nConnection: close", False),
        ("GET / HTTP/1.0", False),
        ("GET / HTTP/1.0\r\nConnection: keep-alive", True),
    ],
)
def test_whether_a_connection_stays_open_is_the_clients_choice(head, stays_open):
    _, transport = send_in_pieces(f"{head}\r\n\r\n".encode(), [])
    assert transport.written == b"</ 0>"
    assert transport.is_closing() is not stays_open


def test_what_follows_a_request_that_closes_the_connection_is_not_handled():
    site, transport = send_in_pieces(b"GET /1 HTTP/1.1\r\nConnection: close\r\n\r\n" + post("/2"), [])
    assert [e.target for e in site.exchanges] == [b"/1"]
    assert transport.written == b"</1 0>"


def test_an_answer_that_closes_drops_the_requests_behind_it_and_abandons_their_jobs():
    abandoned = []

    def wait(exchange):
        exchange.on_abandon = lambda: abandoned.append(exchange.target)

    site, transport = send_in_pieces(post("/1") + post("/2") + post("/3"), [], on_request=wait)
    site.exchanges[0].keep_alive = False
    site.exchanges[0].respond(b"1")
    assert abandoned == [b"/2", b"/3"]
    site.exchanges[1].respond(b"2")
    assert transport.written == b"1"


def test_a_client_that_has_sent_more_than_is_answered_gets_to_read_the_last_answer():
    """A socket that is closed with unread bytes is reset, and a reset takes the answer with it."""
    site = FakeSite(on_request=leave_open, limits=Limits(max_pipelined=1))
    connection, transport = connect(site)
    transport.receive(post("/1") + post("/2"))
    transport.receive(post("/3"))
    site.exchanges[0].keep_alive = False
    site.exchanges[0].respond(b"1")
    assert transport.has_ended_writing
    assert not transport.is_closing()
    assert not transport.is_reading_paused
    connection.sweep(later(transport, 5))
    assert transport.is_aborted


def test_an_answer_that_closes_drops_a_large_body_that_is_still_coming():
    site = FakeSite(on_request=leave_open)
    _, transport = connect(site)
    large = post("/large", b"x" * LARGE)
    transport.receive(post("/1") + post("/2") + large[:-1])
    site.exchanges[0].keep_alive = False
    site.exchanges[0].respond(b"1")
    transport.receive(large[-1:])
    assert [e.target for e in site.exchanges] == [b"/1", b"/2"]


def test_a_client_that_is_sending_its_next_request_gets_to_read_the_answer_that_closes():
    site = FakeSite(on_request=leave_open)
    _, transport = connect(site)
    transport.receive(post("/1") + post("/2", b"body")[:-1])
    site.exchanges[0].keep_alive = False
    site.exchanges[0].respond(b"1")
    assert transport.has_ended_writing
    assert not transport.is_closing()
    transport.receive(b"y")
    assert len(site.exchanges) == 1


def test_a_client_that_takes_its_last_answer_slowly_gets_all_of_it():
    site = FakeSite(on_request=leave_open)
    connection, transport = connect(site)
    transport.receive(post("/", b"", "Connection: close"))
    connection.pause_writing()
    site.exchanges[0].respond(b"x" * 5000)
    for second in range(10):
        transport.unsent_bytes = 5000 - second
        connection.sweep(later(transport, second))
    assert not transport.is_aborted
    transport.unsent_bytes = 0
    connection.sweep(later(transport, 10))
    connection.sweep(later(transport, 13))
    assert transport.is_aborted


def test_who_leaves_abandons_every_request_under_way_and_gets_no_answer():
    abandoned = []

    def wait(exchange):
        exchange.on_abandon = lambda: abandoned.append(exchange.target)

    site, transport = send_in_pieces(post("/1") + post("/2") + b"POST /half HTTP/1.1\r\n", [], on_request=wait)
    transport.lose()
    assert abandoned == [b"/1", b"/2"]
    assert not site.connections
    site.exchanges[0].respond(b"late")
    assert not transport.written


def test_an_answered_request_is_not_abandoned():
    abandoned = []
    site, transport = send_in_pieces(post("/1"), [], on_request=leave_open)
    site.exchanges[0].on_abandon = lambda: abandoned.append(1)
    site.exchanges[0].respond(b"1")
    transport.lose()
    assert not abandoned


def test_who_leaves_while_sending_a_large_body_is_forgotten():
    site, transport = send_in_pieces(post("/", b"x" * 100_000)[:-1], [])
    transport.lose()
    assert not site.exchanges
    assert not site.connections


def test_a_closed_connection_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        site = FakeSite()
        connection, transport = connect(site)
        transport.receive(post("/"))
        transport.lose()
        site.exchanges.clear()
        gone = weakref.ref(connection)
        del connection, transport
        assert gone() is None
    finally:
        gc.enable()


def test_the_end_of_the_clients_stream_ends_the_connection():
    connection, _ = connect(FakeSite())
    assert not connection.eof_received()


# --- Expect ----------------------------------------------------------------------------------------------------------


def test_expect_100_continue_is_met_once_the_header_is_there():
    site = FakeSite()
    _, transport = connect(site)
    data = post("/", b"body", "Expect: 100-Continue")
    transport.receive(data[:-4])
    assert transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    transport.receive(data[-4:])
    assert transport.written.endswith(b"</ 4>")


def test_expect_is_met_once_where_an_upgrade_is_declined():
    data = post("/", b"body", "Expect: 100-continue", "Connection: upgrade", "Upgrade: h2c")
    _, transport = send_in_pieces(data, [])
    assert transport.written == b"HTTP/1.1 100 Continue\r\n\r\n</ 4>"


def test_a_client_of_http_1_0_is_sent_no_interim_response():
    data = b"POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nx"
    _, transport = send_in_pieces(data, [])
    assert transport.written == b"</ 1>"


def test_no_interim_response_is_put_among_the_answers_of_earlier_requests():
    data = post("/1") + post("/2", b"body", "Expect: 100-continue")
    _, transport = send_in_pieces(data, [], on_request=leave_open)
    assert not transport.written


def test_another_expectation_is_refused_with_417():
    site, transport = send_in_pieces(post("/", b"body", "Expect: wonders"), [])
    assert site.refused_statuses() == [417]
    assert not site.exchanges
    assert transport.has_ended_writing


def test_a_body_that_would_be_too_large_is_refused_before_it_is_asked_for():
    data = b"POST / HTTP/1.1\r\nContent-Length: 1000001\r\nExpect: 100-continue\r\n\r\n"
    _, transport = send_in_pieces(data, [])
    assert transport.written == b"<refused 413>"


# --- limits ----------------------------------------------------------------------------------------------------------


def test_a_header_of_too_many_bytes_is_refused_with_431():
    for cuts in ([], [4000], range(100, 5000, 100)):
        site, transport = send_in_pieces(b"GET / HTTP/1.1\r\nX: " + b"x" * 5000 + b"\r\n\r\n", cuts)
        assert site.refused_statuses() == [431]
        assert transport.written == b"<refused 431>"


def test_a_header_that_does_not_end_is_refused_as_soon_as_it_is_too_large():
    site, _ = send_in_pieces(b"GET /" + b"x" * 5000, [2500])
    assert site.refused_statuses() == [431]


def test_a_header_up_to_the_limit_is_taken_with_any_body_behind_it():
    site, _ = send_in_pieces(post("/", b"x" * 50_000, f"X: {'x' * 3900}"), [])
    assert len(site.exchanges) == 1


def test_the_limit_of_the_header_is_for_each_request_of_a_connection():
    site, _ = send_in_pieces(post("/", b"", f"X: {'x' * 3000}") * 10, range(0, 31_000, 777))
    assert len(site.exchanges) == 10


def test_too_many_headers_are_refused_with_431():
    site, _ = send_in_pieces(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 17 + b"\r\n", [])
    assert site.refused_statuses() == [431]
    site, _ = send_in_pieces(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 16 + b"\r\n", [])
    assert len(site.exchanges) == 1


@pytest.mark.parametrize(
    "data",
    [
        post("/", b"x" * 1_000_001),
        chunked("/", b"x" * 600_000, b"x" * 400_001),
        chunked("/", *[b"x" * 9] * 120_000),
        b"POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n",
    ],
)
def test_a_body_over_the_limit_is_refused_and_what_still_comes_is_thrown_away(data):
    for cuts in ([], range(0, len(data), 65_536)):
        site, transport = send_in_pieces(data, cuts)
        assert site.refused_statuses() == [413]
        assert not site.exchanges
        assert transport.written == b"<refused 413>"
        assert transport.has_ended_writing
        transport.receive(b"x" * 100_000 + post("/"))
        assert not site.exchanges


@pytest.mark.parametrize("endless", [b"X-Trailer: " + b"x" * 9000, b"X: y\r\n" * 1500])
def test_trailers_are_limited_as_headers_are(endless):
    data = chunked("/", b"abc")[:-2] + endless
    site, _ = send_in_pieces(data, range(0, len(data), 1000))
    assert site.refused_statuses() == [431]


def test_a_chunk_extension_is_limited_as_headers_are():
    data = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;" + b"x" * 9000
    site, _ = send_in_pieces(data, range(0, len(data), 1000))
    assert site.refused_statuses() == [431]


def test_a_refusal_waits_for_the_answers_before_it_however_long_they_take():
    site = FakeSite(on_request=leave_open)
    connection, transport = connect(site)
    transport.receive(post("/1") + b"nonsense\r\n\r\n")
    connection.sweep(later(transport, 19))
    assert not transport.is_aborted
    site.exchanges[0].respond(b"1")
    assert transport.written == b"1<refused 400>"


def test_a_refused_client_is_cut_off_if_it_goes_on_sending():
    site, transport = send_in_pieces(post("/", b"x" * 1_000_001), [])
    (connection,) = site.connections
    connection.sweep(later(transport, 1))
    assert not transport.is_aborted
    connection.sweep(later(transport, 3))
    assert transport.is_aborted


def test_a_connection_too_many_is_told_so_and_closed():
    site = FakeSite(has_room=False)
    _, transport = connect(site)
    assert transport.written == b"<refused 503>"
    assert transport.has_ended_writing
    transport.receive(post("/"))
    assert not site.exchanges


# --- messages that are none ------------------------------------------------------------------------------------------

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
MALFORMED = {
    "no method": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no version": b"GET / \r\n\r\n",
    "unknown version": b"GET / HTTP/3.7\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "blank in target": b"GET /a b HTTP/1.1\r\n\r\n",
    "NUL in target": b"GET /\0 HTTP/1.1\r\n\r\n",
    "NUL in name": HEAD + b"x\0: a\r\n\r\n",
    "NUL in value": HEAD + b"x: a\0b\r\n\r\n",
    "blank after name": HEAD + b"x : a\r\n\r\n",
    "folded value": HEAD + b"x: a\r\n b\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: x\n\n",
    "both lengths": HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, turned": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "negative length": HEAD + b"Content-Length: -3\r\n\r\n",
    "signed length": HEAD + b"Content-Length: +3\r\n\r\nabc",
    "length of 25 digits": HEAD + b"Content-Length: 9999999999999999999999999\r\n\r\n",
    "empty length": HEAD + b"Content-Length:\r\n\r\n",
    "length is a word": HEAD + b"Content-Length: many\r\n\r\n",
    "unknown coding": HEAD + b"Transfer-Encoding: gzip\r\n\r\nabc",
    "coding after chunked": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunk size is a word": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "chunk size too large": HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\n",
    "chunk without end": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_http_is_refused_with_400_however_it_is_split(data):
    for cuts in ([], range(1, len(data))):
        site, transport = send_in_pieces(data, cuts)
        assert site.refused_statuses() == [400]
        assert not site.exchanges
        assert transport.written == b"<refused 400>"
        assert transport.has_ended_writing


def test_a_refusal_comes_after_the_answers_to_the_requests_before_it():
    site, transport = send_in_pieces(post("/1") + post("/2") + b"nonsense\r\n\r\n", [], on_request=leave_open)
    site.exchanges[1].respond(b"2")
    assert not transport.written
    site.exchanges[0].respond(b"1")
    assert transport.written == b"12<refused 400>"


FRAGMENTS = [
    *(b"GET ", b"POST ", b"CONNECT ", b"PRI * HTTP/2.0\r\n\r\n", b"/", b"*", b"http://h/p", b" HTTP/1.1\r\n"),
    *(b" HTTP/1.0\r\n", b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"Host: h\r\n", b"Content-Length: 5\r\n"),
    *(b"Content-Length: 70000\r\n", b"Content-Length: 2000000\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    *(b"5\r\nhello\r\n", b"ffffffffffffffff\r\n", b"Expect: 100-continue\r\n", b"Expect: x\r\n", b"Upgrade: h2c\r\n"),
    *(b"Connection: upgrade\r\n", b"Connection: close\r\n", b"hello", b"y" * 3000, b"z" * 70_000),
]
GARBAGE = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(FRAGMENTS), max_size=14).map(b"".join))


@settings(max_examples=300, deadline=None)
@given(st.lists(GARBAGE, max_size=4), st.booleans())
@example([b"CONNECT h:1 HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"], True)
def test_no_bytes_raise_and_each_request_gets_one_answer_at_most(pieces, is_answered_at_once):
    site = FakeSite() if is_answered_at_once else FakeSite(on_request=leave_open)
    _, transport = connect(site)
    for piece in pieces:
        transport.receive(piece)
    for exchange in list(site.exchanges) * (not is_answered_at_once):
        exchange.respond(b"<answered>")
    assert len(site.refusals) <= 1
    assert transport.written.count(b">") <= len(site.exchanges) + len(site.refusals)
    transport.lose()
    assert not site.connections


# --- time ------------------------------------------------------------------------------------------------------------


def test_an_idle_connection_is_closed_and_a_busy_one_is_not():
    site = FakeSite(on_request=leave_open)
    connection, transport = connect(site)
    connection.sweep(later(transport, 99))
    transport.receive(post("/"))
    connection.sweep(later(transport, 101))
    assert not transport.is_closing()
    site.exchanges[0].respond(b"ok")
    connection.sweep(later(transport, 200))
    assert not transport.is_closing()
    connection.sweep(later(transport, 202))
    assert transport.is_closing()


def test_a_request_that_takes_too_long_to_arrive_is_refused_with_408():
    for data in (post("/", b"body")[:-1], b"GET", post("/", b"x" * 100_000)[:-1]):
        site, transport = send_in_pieces(data, [])
        (connection,) = site.connections
        connection.sweep(later(transport, 19))
        assert not site.refusals
        connection.sweep(later(transport, 21))
        assert site.refused_statuses() == [408]
        transport.receive(b"x")
        assert not site.exchanges


def test_a_request_that_the_server_itself_keeps_waiting_is_not_refused():
    site = FakeSite(on_request=leave_open, limits=Limits(max_pipelined=1))
    connection, transport = connect(site)
    transport.receive(post("/1") + post("/2") + post("/3")[:10])
    connection.sweep(later(transport, 30))
    assert not site.refusals
    site.exchanges[0].respond(b"1")
    connection.sweep(later(transport, 40))
    assert not site.refusals
    connection.sweep(later(transport, 60))
    assert site.refused_statuses() == [408]


@pytest.mark.parametrize("keeps_open", [True, False])
def test_a_client_that_takes_none_of_its_reply_is_cut_off(keeps_open):
    site = FakeSite(on_request=leave_open)
    connection, transport = connect(site)
    transport.receive(post("/", b"", *([] if keeps_open else ["Connection: close"])))
    transport.unsent_bytes = 5000
    site.exchanges[0].respond(b"x" * 5000)
    connection.sweep(later(transport, 1))
    connection.sweep(later(transport, 10))
    assert not transport.is_aborted
    connection.sweep(later(transport, 12))
    assert transport.is_aborted


def test_a_client_that_takes_its_reply_slowly_is_not_cut_off():
    connection, transport = connect(FakeSite())
    transport.receive(post("/"))
    for second in range(0, 50, 5):
        transport.unsent_bytes = 5000 - second
        connection.sweep(later(transport, second))
    assert not transport.is_closing()


# --- stopping --------------------------------------------------------------------------------------------------------


def test_a_draining_server_closes_idle_connections():
    connection, transport = connect(FakeSite())
    connection.drain()
    assert transport.is_closing()


def test_a_draining_server_closes_a_connection_after_the_last_answer_that_is_under_way():
    site = FakeSite(on_request=leave_open)
    connection, transport = connect(site)
    transport.receive(post("/1") + post("/2"))
    connection.drain()
    assert [e.keep_alive for e in site.exchanges] == [True, False]
    transport.receive(post("/3"))
    assert len(site.exchanges) == 2
    for exchange in site.exchanges:
        exchange.respond(b"ok")
    assert transport.written == b"okok"
    assert transport.has_ended_writing or transport.is_closing()


def test_a_draining_server_does_not_wait_for_a_request_that_has_not_come_whole():
    site = FakeSite()
    connection, transport = connect(site)
    transport.receive(post("/", b"x" * 100_000)[:-1])
    connection.drain()
    assert site.refused_statuses() == [503]


def test_a_draining_server_lets_a_client_read_that_it_was_refused():
    """However often it is told to drain: as it closes, too."""
    connection, transport = connect(FakeSite())
    transport.receive(post("/", b"x" * 100_000)[:-1])
    connection.drain()
    connection.drain()
    assert transport.has_ended_writing
    assert not transport.is_closing()


# --- the other end ---------------------------------------------------------------------------------------------------


def test_the_peer_of_a_unix_socket_is_none():
    connection, _ = connect(FakeSite(), peer="")
    assert connection.peer is None


def test_the_peer_of_an_ipv6_socket_is_address_and_port():
    connection, _ = connect(FakeSite(), peer=("::1", 5, 0, 0))
    assert connection.peer == ("::1", 5)
