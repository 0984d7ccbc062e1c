from __future__ import annotations

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from flambeau.frontends.http.json import PrettyJsonResponse, pretty, status_response

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, min_size=1) | st.dictionaries(st.text(), inner, min_size=1),
)


class Sparse(msgspec.Struct):
    first: int
    second: int | msgspec.UnsetType = msgspec.UNSET


@given(VALUES)
def test_values_are_indented_by_two_spaces_and_end_with_a_line_feed(value: object):
    text = pretty(value).decode()
    assert json.loads(text) == value
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert all((len(line) - len(line.lstrip(" "))) % 2 == 0 for line in text.split("\n"))


def test_keys_stay_in_order_and_text_is_not_escaped():
    assert pretty({"b": "<é>", "a": [1, {"c": None}]}) == (
        '{\n  "b": "<é>",\n  "a": [\n    1,\n    {\n      "c": null\n    }\n  ]\n}\n'.encode()
    )


def test_empty_lists_stay_on_one_line():
    assert pretty([]) == b"[]\n"
    assert pretty({"models": []}) == b'{\n  "models": []\n}\n'


def test_unset_fields_are_left_out():
    assert pretty(Sparse(1)) == b'{\n  "first": 1\n}\n'


def test_responses_are_json_and_count_the_line_feed():
    response = PrettyJsonResponse([1], 207)
    assert response.status_code == 207
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-length"] == "8"
    assert status_response("ok").body == b'{\n  "status": "ok"\n}\n'
