from __future__ import annotations

import pytest

from flambeau.runtime import Context, RequestProcessor


@pytest.fixture
def context():
    return Context("m", "/models/m", {"model": {}}, 4, 1, "0.12.0", False, "metrics", {"handler": {}})


def test_properties_are_those_of_the_constructor(context):
    assert context.model_name == "m"
    assert context.manifest == {"model": {}}
    assert context.metrics == "metrics"
    assert context.model_yaml_config == {"handler": {}}
    assert context.system_properties == {
        "model_dir": "/models/m",
        "gpu_id": 1,
        "batch_size": 4,
        "server_name": "MMS",
        "server_version": "0.12.0",
        "limit_max_image_pixels": False,
    }


def test_system_properties_cannot_be_replaced(context):
    with pytest.raises(AttributeError):
        context.system_properties = {}


def test_before_the_first_batch_there_are_no_requests(context):
    assert context.request_ids is None
    assert context.request_processor is None
    assert context.get_request_id() is None
    assert not hasattr(context, "cache")


def test_request_ids_are_by_index(context, request_of):
    context.begin_batch([request_of(b"", request_id="a"), request_of(b"", request_id="b")])
    assert context.request_ids == {0: "a", 1: "b"}
    assert (context.get_request_id(), context.get_request_id(1), context.get_request_id(2)) == ("a", "b", None)


def test_headers_keep_the_clients_letter_case_and_the_last_of_a_repeated_one(context, request_of):
    request = request_of(b"")
    request.headers = [(b"X-A", b"1"), (b"X-A", b"2"), (b"explain", b"False")]
    context.begin_batch([request])
    assert context.get_request_header(0, "X-A") == "2"
    assert context.get_request_header(0, "x-a") is None
    assert context.get_all_request_header(0) == {
        "body": {"content-type": ""},
        "X-A": "2",
        "explain": "False",
    }


def test_field_names_map_to_their_content_type_unless_a_header_has_that_name(context, request_of):
    context.begin_batch([request_of(content_type="image/png", data=b"1", name=b"2", headers={"name": "header"})])
    assert context.get_request_header(0, "data") == {"content-type": "image/png"}
    assert context.get_request_header(0, "name") == "header"


def test_header_bytes_that_are_not_utf8_are_read_as_latin1(context, request_of):
    request = request_of(b"")
    request.headers = [(b"X-Name", b"gr\xfcn"), (b"X-Utf8", "grün".encode())]
    context.begin_batch([request])
    assert context.get_request_header(0, "X-Name") == context.get_request_header(0, "X-Utf8") == "grün"


def test_sequence_id_is_the_header_of_the_configured_name(context, request_of, monkeypatch):
    context.begin_batch([request_of(b"", headers={"ts_request_sequence_id": "s1"})])
    assert context.get_sequence_id(0) == "s1"
    monkeypatch.setenv("TS_REQUEST_SEQUENCE_ID", "x-seq")
    other = Context("m", "", None, 1, None, "")
    other.begin_batch([request_of(b"", headers={"x-seq": "s2"})])
    assert other.get_sequence_id(0) == "s2"


def test_status_and_headers_are_kept_per_row(context, request_of):
    context.begin_batch([request_of(b""), request_of(b"")])
    context.set_response_status(201, "Made", 1)
    context.set_response_content_type(1, "image/png")
    context.set_response_header(1, "X-B", "2")
    assert context.get_response_status(0) == (200, None)
    assert context.get_response_status(1) == (201, "Made")
    assert context.get_response_content_type(0) is None
    assert context.get_response_content_type(1) == "image/png"
    assert context.get_response_headers(1) == {"content-type": "image/png", "X-B": "2"}


def test_a_status_can_be_set_for_all_rows(context, request_of):
    context.begin_batch([request_of(b""), request_of(b"")])
    context.set_all_response_status(418, "teapot")
    assert [context.get_response_status(index) for index in (0, 1)] == [(418, "teapot")] * 2


def test_a_new_batch_forgets_the_last_ones_status_headers_and_ids(context, request_of):
    context.begin_batch([request_of(b"", request_id="a")])
    context.set_response_status(500, "x")
    assert context.get_request_id() == "a"
    context.begin_batch([request_of(b"", request_id="b")])
    assert context.touched_processors() is None
    assert context.get_response_status(0) == (200, None)
    assert context.get_request_id() == "b"


def test_handlers_may_keep_state_on_the_context(context, request_of):
    context.cache = {"a": 1}
    context.begin_batch([request_of(b"")])
    assert context.cache == {"a": 1}


def test_contexts_are_equal_when_their_attributes_are():
    first, second = (Context("m", "/d", None, 1, None, "0.12.0") for _ in range(2))
    assert first == second
    second.cache = {}
    assert first != second


def test_processors_can_be_made_from_a_dict_and_set_on_the_context(context):
    processor = RequestProcessor({"explain": "True"})
    context.request_processor = [processor]
    context.request_ids = {0: "a"}
    assert context.get_request_header(0, "explain") == "True"
    assert context.get_request_id(0) == "a"
    processor.report_status(404, "gone")
    assert (processor.get_response_status_code(), processor.get_response_status_phrase()) == (404, "gone")
    processor.add_response_property("k", "v")
    assert processor.get_response_header("k") == "v"


def test_a_reply_carries_status_phrase_and_headers_as_text():
    processor = RequestProcessor({})
    processor.report_status(201, None)
    processor.add_response_property("X-Count", 3)
    processor.add_response_property("X-Odd", "\ud800")
    reply = processor.reply(b"x")
    assert (reply.status, reply.phrase, reply.headers) == (201, "", [("X-Count", "3"), ("X-Odd", "?")])


@pytest.mark.parametrize("status", ["abc", None, 0, 99999])
def test_a_status_that_is_no_number_of_three_digits_is_an_error(status):
    processor = RequestProcessor({})
    processor.report_status(status)
    with pytest.raises((TypeError, ValueError)):
        processor.reply(b"")
