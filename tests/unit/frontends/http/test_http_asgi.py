import asyncio

import pytest

from flambeau.frontends.http import asgi


def call(app, **changes):
    request = {
        "method": "POST",
        "target": b"/a%20b/c?d=%20e",
        "http_version": "1.1",
        "headers": [(b"X-Name", b"V")],
        "body": b"body",
        "client": ("192.0.2.1", 5),
        "is_tls": False,
        "request_id": "id-1",
    }
    return asyncio.run(asgi.call(app, **{**request, **changes}))


async def answer(send, status=200, headers=(), *chunks):
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body"})


def test_the_application_sees_the_request_as_asgi_has_it():
    seen = []

    async def app(scope, receive, send):
        seen.extend((scope, await receive()))
        await answer(send)

    call(app)
    scope, message = seen
    assert message == {"type": "http.request", "body": b"body", "more_body": False}
    expected = {
        "type": "http",
        "method": "POST",
        "path": "/a b/c",
        "raw_path": b"/a%20b/c",
        "query_string": b"d=%20e",
        "headers": [(b"x-name", b"V")],
        "client": ("192.0.2.1", 5),
        "scheme": "http",
        "state": {"request_id": "id-1"},
    }
    assert {key: scope[key] for key in expected} == expected


def test_over_tls_the_scheme_is_https():
    async def app(scope, receive, send):
        await answer(send, 200, [(b"scheme", scope["scheme"].encode())])

    assert call(app, is_tls=True).headers == [(b"scheme", b"https")]


def test_the_response_is_put_together_from_its_parts():
    async def app(scope, receive, send):
        await answer(send, 202, [(b"a", b"b")], b"one", b"two")

    assert call(app) == asgi.ColdResponse(202, [(b"a", b"b")], b"onetwo")


def test_an_application_that_answers_nothing_is_a_bug_that_is_named():
    async def app(scope, receive, send):
        pass

    with pytest.raises(RuntimeError, match="no response to POST"):
        call(app)


def test_a_second_receive_waits_until_the_call_is_cancelled():
    async def app(scope, receive, send):
        await receive()
        await receive()

    async def leave():
        waiting = asyncio.ensure_future(
            asgi.call(
                app,
                method="GET",
                target=b"/",
                http_version="1.1",
                headers=(),
                body=b"",
                client=None,
                is_tls=False,
                request_id="",
            )
        )
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(leave())


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (200, "OK"),
        (413, "Request Entity Too Large"),
        (418, "Client Error (418)"),
        (507, "Insufficient Storage"),
        (599, "Server Error (599)"),
        (299, "Success (299)"),
        (799, "Unknown Status (799)"),
    ],
)
def test_phrases_are_the_standards_or_name_the_class(status, phrase):
    assert asgi.reason_phrase(status) == phrase
