import pytest
from http_connections import chunked, post
from http_sites import InferencePort, echo_model, replying

from flambeau.errors import HandlerRejected, NoWorker, QueueFull
from flambeau.frontends.http.auth import Tokens
from flambeau.request import InferenceReply, ModelRef
from flambeau.testing.inference import FakeServedModel

REPLY_OF_A_HANDLER = InferenceReply(b"made", 201, "Baked", [("X-Oven", "hot"), ("Content-Type", "text/plain")])


class RefusingModel(FakeServedModel):
    """Accepts nothing."""

    def __init__(self, error):
        super().__init__(ModelRef("m", "1.0"), lambda request: error)
        self._error = error

    def submit(self, request, caller, arrived_at):
        raise self._error


def test_a_prediction_is_answered_with_the_models_bytes_and_nothing_said_of_their_type():
    port = InferencePort(echo_model())
    (reply,) = port.send(post("/predictions/echo", b"\x00\xff"))
    assert (reply.status, reply.reason, reply.body) == (200, "", b"\x00\xff")
    assert "content-type" not in reply
    assert reply["connection"] == "keep-alive"
    assert reply["content-length"] == "2"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "POST"])
def test_every_method_predicts(method):
    model = echo_model()
    (reply,) = InferencePort(model).send(f"{method} /predictions/echo HTTP/1.1\r\n\r\n".encode())
    assert (reply.status, reply.body) == (200, b"")
    assert model.requests[0].parameters == (("body", "", b""),)


def test_head_predicts_and_is_answered_without_a_body():
    model = echo_model()
    written = InferencePort(model).exchange(b"HEAD /predictions/echo HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody")
    head, _, body = written.partition(b"\r\n\r\n")
    assert len(model.requests) == 1
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: 4" in head
    assert body == b""


def test_a_handlers_content_length_is_not_believed():
    reply = InferenceReply(b"four", headers=[("Content-Length", "99"), ("content-length", "many")])
    assert InferencePort(replying(reply)).send(post("/predictions/m"))[0].body == b"four"
    written = InferencePort(replying(reply)).exchange(b"HEAD /predictions/m HTTP/1.1\r\n\r\n")
    assert written.count(b"content-length: ") == 1


def test_options_describes_and_predicts_nothing():
    model = echo_model()
    port = InferencePort(model)
    replies = port.send(post("/predictions/echo"), b"OPTIONS /predictions/echo HTTP/1.1\r\n\r\n")
    assert len(model.requests) == 1
    assert b'"openapi"' in replies[1].body


def test_the_handler_sees_the_headers_in_the_clients_letter_case_then_those_of_the_route():
    model = echo_model()
    InferencePort(model).send(post("/explanations/echo/1.0/a/b", b"x", "X-MiXed: v", "x-mixed: w"))
    assert model.requests[0].headers == [
        *[(b"Host", b"test"), (b"Content-Length", b"1"), (b"X-MiXed", b"v"), (b"x-mixed", b"w")],
        *[(b"explain", b"True"), (b"url_path", b"a/b")],
    ]


def test_a_chunked_body_comes_with_a_content_length_for_the_handler():
    model = echo_model()
    (reply,) = InferencePort(model).send(chunked("/predictions/echo", b"abc", b"de"))
    assert reply.body == b"abcde"
    assert (b"content-length", b"5") in model.requests[0].headers


@pytest.mark.parametrize(
    ("content_type", "media_type"),
    [("application/json; charset=utf-8", "application/json"), ("", ""), ("text/x", "text/x")],
)
def test_a_raw_body_is_one_field_with_the_media_type(content_type, media_type):
    model = echo_model()
    InferencePort(model).send(post("/predictions/echo", b"{}", f"Content-Type: {content_type}"))
    assert model.requests[0].parameters == (("body", media_type, b"{}"),)


def test_a_form_becomes_fields():
    model = echo_model()
    InferencePort(model).send(
        post("/predictions/echo", b"a=1&b=2", "Content-Type: Application/X-WWW-Form-Urlencoded; charset=utf-8")
    )
    assert [(name, bytes(value)) for name, _, value in model.requests[0].parameters] == [("a", b"1"), ("b", b"2")]


def test_a_large_form_becomes_fields():
    model = echo_model()
    form = b"a=" + b"x" * 100_000
    InferencePort(model).send(post("/predictions/echo", form, "Content-Type: application/x-www-form-urlencoded"))
    assert bytes(model.requests[0].parameters[0][2]) == b"x" * 100_000


def test_the_query_is_data_on_legacy_routes_alone():
    model = echo_model()
    InferencePort(model).send(post("/predictions/echo?a=1", b"b"), post("/models/echo/invoke?a=1", b"b"))
    of_both = [[name for name, _, _ in request.parameters] for request in model.requests]
    assert of_both == [["body"], ["body", "a"]] or of_both == [["body"], ["a", "body"]]


def test_invocations_takes_the_model_from_the_form_or_the_only_one_there_is():
    first, second = echo_model("first"), echo_model("second")
    form = post("/invocations", b"model_name=second", "Content-Type: application/x-www-form-urlencoded")
    assert InferencePort(first, second).send(form)[0].status == 200
    assert len(second.requests) == 1
    assert InferencePort(first, second).send(post("/invocations"))[0].status == 400
    assert InferencePort(first, sole_model="first").send(post("/invocations"))[0].status == 200
    assert len(first.requests) == 1


def test_an_unknown_model_or_version_is_404_and_costs_no_model_anything():
    model = echo_model()
    for target in ("/predictions/other", "/predictions/echo/2.0", "/predictions"):
        (reply,) = InferencePort(model).send(post(target))
        assert reply.status == 404
        assert reply["connection"] == "close"
    assert not model.requests


def test_a_model_that_is_replaced_is_found_again_on_the_same_connection():
    old, new = echo_model(), echo_model()
    port = InferencePort(old)
    replies = []

    def replace(request):
        port.inference._models["echo"] = {"2.0": new}
        port.inference.generation += 1
        return InferenceReply(b"old")

    old.reply = replace
    replies = port.send(post("/predictions/echo"), post("/predictions/echo", b"new"))
    assert [reply.body for reply in replies] == [b"old", b"new"]


def test_a_client_that_makes_up_targets_does_not_fill_the_memory():
    port = InferencePort(echo_model())
    replies = port.send(*[post(f"/predictions/echo?{number}") for number in range(4200)])
    assert {reply.status for reply in replies} == {200}
    assert len(replies) == 4200


@pytest.mark.parametrize(("query_bytes", "times_resolved"), [(100, 1), (1000, 3)])
def test_only_a_target_of_usual_length_is_remembered(query_bytes, times_resolved):
    port = InferencePort(echo_model())
    resolve, resolved = port.inference.resolve, []
    port.inference.resolve = lambda ref: resolved.append(ref) or resolve(ref)
    requests = [post("/models/echo/invoke?" + "q" * query_bytes, b"x") for _ in range(3)]
    assert [reply.status for reply in port.send(*requests)] == [200] * 3
    assert len(resolved) == times_resolved


# --- what a handler may say ------------------------------------------------------------------------------------------


def test_a_handler_chooses_status_phrase_and_headers():
    (reply,) = InferencePort(replying(REPLY_OF_A_HANDLER)).send(post("/predictions/m"))
    assert (reply.status, reply.reason, reply.body) == (201, "Baked", b"made")
    assert (reply["X-Oven"], reply["Content-Type"]) == ("hot", "text/plain")


def test_a_handler_chooses_the_phrase_of_a_200():
    (reply,) = InferencePort(replying(InferenceReply(b"", 200, "Fine"))).send(post("/predictions/m"))
    assert (reply.status, reply.reason) == (200, "Fine")


def test_a_handlers_error_status_keeps_its_body_and_closes_the_connection():
    port = InferencePort(replying(InferenceReply(b"made", 422)))
    (reply,) = port.send(post("/predictions/m") + post("/predictions/m"))
    assert (reply.status, reply.body, reply["connection"]) == (422, b"made", "close")


@pytest.mark.parametrize(
    "reply",
    [
        InferenceReply(b"body", headers=[("X-A", "1\r\nX-Injected: yes\r\n\r\nHTTP/1.1 200 ")]),
        InferenceReply(b"body", headers=[("X-A\r\nX-Injected", "yes")]),
        InferenceReply(b"body", headers=[("X-A: 1\nX-Injected", "yes\n")]),
        InferenceReply(b"body", headers=[("", "x"), ("X-A", "\0\x0b\x7f")]),
        InferenceReply(b"body", 200, "OK\r\nX-Injected: yes\r\n\r\n"),
        InferenceReply(b"body", 299, "OK\nX-Injected: yes"),
        InferenceReply(b"body", headers=[("X-A", "日本"), ("日本", "x")]),
        InferenceReply(b"body", headers=[("Transfer-Encoding", "chunked"), ("Connection", "upgrade")]),
    ],
)
def test_nothing_that_a_handler_says_becomes_a_header_of_another_name_or_ends_the_head(reply):
    port = InferencePort(replying(reply))
    replies = port.send(post("/predictions/m"), post("/predictions/m"))
    assert [(one.status, one.body) for one in replies] == [(reply.status, b"body")] * 2
    for one in replies:
        assert "X-Injected" not in one
        assert all(name and name.isascii() and name.isprintable() and " " not in name for name, _ in one.headers)
        assert all(value.isprintable() for _, value in one.headers)
        assert one["connection"] == "keep-alive"


@pytest.mark.parametrize("status", [100, 101, 199])
def test_a_status_that_is_no_final_answer_is_answered_as_a_failure_of_the_handler(status):
    (reply,) = InferencePort(replying(InferenceReply(b"body", status))).send(post("/predictions/m"))
    assert reply.status == 503
    assert b"Prediction failed" in reply.body


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_that_has_no_body_gets_none(status):
    port = InferencePort(replying(InferenceReply(b"body", status)))
    replies = port.send(post("/predictions/m"), post("/predictions/m"))
    assert [(one.status, one.body) for one in replies] == [(status, b""), (status, b"")]


@pytest.mark.parametrize("size", [16 * 1024 - 1, 16 * 1024, 3_000_000])
def test_a_reply_of_any_size_arrives_whole(size):
    body = b"0123456789" * (size // 10) + b"x" * (size % 10)
    replies = InferencePort(replying(InferenceReply(body))).send(post("/predictions/m"), post("/predictions/m"))
    assert [reply.body for reply in replies] == [body, body]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_reply_may_be_any_buffer(kind):
    for size in (5, 50_000):
        for headers in ((), [("X", "y")]):
            reply = InferenceReply(kind(b"x" * size), headers=headers)
            assert InferencePort(replying(reply)).send(post("/predictions/m"))[0].body == b"x" * size


# --- errors, limits, records -----------------------------------------------------------------------------------------


def test_an_error_of_the_handler_is_json_with_the_status_it_chose():
    (reply,) = InferencePort(replying(HandlerRejected("no cat", 418))).send(post("/predictions/m"))
    assert (reply.status, reply.reason) == (418, "Client Error (418)")
    assert reply["content-type"] == "application/json"
    assert b'"message": "no cat"' in reply.body


def test_a_full_queue_is_503_and_says_when_to_come_again():
    (reply,) = InferencePort(RefusingModel(QueueFull("m", "2 jobs"))).send(post("/predictions/m"))
    assert (reply.status, reply["retry-after"]) == (503, "1")


def test_a_model_without_workers_is_named_with_the_version_that_the_client_named():
    model = RefusingModel(NoWorker("m"))
    assert b'Model \\"m\\" has no worker' in InferencePort(model).send(post("/predictions/m"))[0].body
    assert b'Model \\"m\\" Version 1.0' in InferencePort(model).send(post("/predictions/m/1.0"))[0].body
    reasoned = RefusingModel(NoWorker("m", reason="given up"))
    assert b"(given up)" in InferencePort(reasoned).send(post("/predictions/m/1.0"))[0].body


def test_who_has_no_token_learns_nothing_of_the_models(tmp_path):
    model = echo_model()
    for target in ("/predictions/echo", "/predictions/none"):
        port = InferencePort(model, tokens=Tokens(tmp_path / "keys.json", 60.0))
        replies = port.send(post(target))
        assert (replies[0].status, b"InvalidKeyException" in replies[0].body) == (400, True)
    assert not model.requests


def test_the_token_is_checked_for_every_request_of_a_connection(tmp_path):
    tokens = Tokens(tmp_path / "keys.json", 60.0)
    tokens.publish()
    key = tokens._keys["inference"].secret
    allowed = post("/predictions/echo", b"1", f"Authorization: Bearer {key}")
    replies = InferencePort(echo_model(), tokens=tokens).send(allowed, allowed, post("/predictions/echo"))
    assert [reply.status for reply in replies] == [200, 200, 400]


def test_a_prediction_is_counted_and_timed_under_the_version_that_the_client_named():
    port = InferencePort(echo_model())
    port.send(post("/predictions/echo"), post("/predictions/echo/1.0"), post("/predictions/none"))
    names = ("ts_inference_requests_total", "ts_inference_latency_microseconds", "ts_queue_latency_microseconds")
    assert port.metrics.counts() == {
        **{(name, "echo", label): 1 for name in names for label in ("default", "1.0")},
        ("QueueTime", "Host"): 2,
        ("Requests2XX", "Host"): 2,
        ("Requests4XX", "Host"): 1,
    }


def test_who_leaves_gives_up_his_job():
    tickets = []

    class WaitingModel(FakeServedModel):
        def _settle(self, request, caller, ticket):
            tickets.append(ticket)

    model = WaitingModel(ModelRef("m", "1.0"), lambda request: InferenceReply(b""))
    assert InferencePort(model).exchange(post("/predictions/m")) == b""
    assert [ticket.is_abandoned for ticket in tickets] == [True]
