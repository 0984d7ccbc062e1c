from __future__ import annotations

import json
import logging
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.request import InferenceRequest
from flambeau.runtime.rows import make_rows, parse_json


def row(*parameters, decode=True):
    return make_rows([InferenceRequest("id", [], list(parameters))], decode)[0]


def test_a_raw_body_is_a_bytearray_under_body():
    value = row(("body", "", bytearray(b"abc")))["body"]
    assert value == bytearray(b"abc")
    assert type(value) is bytearray


def test_bytes_and_memoryviews_from_callers_in_this_process_become_bytearrays():
    values = row(("a", "", b"1"), ("b", "image/png", memoryview(b"2")))
    assert [type(value) for value in values.values()] == [bytearray, bytearray]


def test_an_empty_body_is_still_there():
    assert row(("body", "", bytearray())) == {"body": bytearray()}


def test_a_request_without_parameters_is_an_empty_row():
    assert row() == {}


def test_of_a_repeated_name_the_last_value_wins():
    assert row(("data", "", bytearray(b"1")), ("data", "", bytearray(b"2"))) == {"data": bytearray(b"2")}


@pytest.mark.parametrize(
    ("content_type", "value", "expected"),
    [
        ("application/json", b'{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        ("application/json", b"[NaN]", None),
        ("text/plain", "grün".encode(), "grün"),
        ("text", b"x", "x"),
        ("text/csv; charset=utf-8", b"1,2", "1,2"),
        ("application/json; charset=utf-8", b"{}", bytearray(b"{}")),
        ("Application/JSON", b"{}", bytearray(b"{}")),
        ("application/octet-stream", b"{}", bytearray(b"{}")),
    ],
)
def test_a_value_is_decoded_by_its_content_type(content_type, value, expected):
    decoded = row(("body", content_type, bytearray(value)))["body"]
    if expected is None:
        assert math.isnan(decoded[0])
    else:
        assert decoded == expected
        assert type(decoded) is type(expected)


@pytest.mark.parametrize(("content_type", "value"), [("application/json", b"{"), ("text/plain", b"\xff")])
def test_a_value_that_is_not_what_its_type_claims_stays_bytes_and_is_logged(content_type, value, caplog):
    with caplog.at_level(logging.WARNING):
        assert row(("body", content_type, bytearray(value))) == {"body": bytearray(value)}
    assert len(caplog.records) == 1


def test_nothing_is_decoded_when_decoding_is_off():
    assert row(("body", "application/json", bytearray(b"{}")), decode=False) == {"body": bytearray(b"{}")}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values, st.booleans())
def test_json_is_parsed_as_by_the_standard_library(value, ascii_only):
    data = bytearray(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))
    assert parse_json(data) == json.loads(data)


@given(st.binary(max_size=20) | st.text("[]{},:\"'0123456789.eE+-ntf\\u \n", max_size=12).map(str.encode))
def test_any_bytes_are_json_for_both_parsers_or_for_neither(data):
    try:
        expected = json.loads(bytearray(data))
    except ValueError:
        with pytest.raises(ValueError):
            parse_json(bytearray(data))
    else:
        assert repr(parse_json(bytearray(data))) == repr(expected)
