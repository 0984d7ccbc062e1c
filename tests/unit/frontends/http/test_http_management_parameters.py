from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.api import Registration, Scaling
from flambeau.errors import BadRequest
from flambeau.frontends.http.management_parameters import (
    Page,
    flag,
    page,
    registration_from_json,
    registration_from_query,
    scaling,
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, Page(100, 0)),
        ({"limit": "0", "next_page_token": "7"}, Page(0, 7)),
        ({"limit": "100"}, Page(100, 0)),
        ({"limit": "101", "next_page_token": "-1"}, Page(100, 0)),
        ({"limit": "-1"}, Page(100, 0)),
        ({"limit": "ten", "next_page_token": "1.5"}, Page(100, 0)),
    ],
)
def test_pages_fall_back_to_the_first_hundred(query: dict[str, str], expected: Page):
    assert page(query) == expected


def test_a_registration_of_a_url_alone_leaves_the_rest_open():
    nothing_else = Registration(url="m.mar")
    assert registration_from_query({"url": "m.mar"}) == nothing_else
    assert registration_from_json(b'{"url": "m.mar"}') == nothing_else
    assert nothing_else.synchronous


def test_a_registration_is_read_from_query_and_json_alike():
    everything = Registration(
        url="m.mar",
        model_name="m",
        runtime="python",
        handler="image_classifier",
        batch_size=8,
        max_batch_delay_s=0.05,
        initial_workers=0,
        synchronous=False,
        response_timeout_s=30.0,
        startup_timeout_s=0.0,
        s3_sse_kms=True,
    )
    query = {
        "url": "m.mar",
        "model_name": "m",
        "runtime": "python",
        "handler": "image_classifier",
        "batch_size": "+8",
        "max_batch_delay": "50",
        "initial_workers": "0",
        "synchronous": "False",
        "response_timeout": "30",
        "startup_timeout": "0",
        "s3_sse_kms": "TRUE",
    }
    assert registration_from_query(query) == everything
    assert (
        registration_from_json(
            b'{"url": "m.mar", "model_name": "m", "runtime": "python", "handler": "image_classifier", "batch_size": 8,'
            b'"max_batch_delay": "50", "initial_workers": 0, "synchronous": false, "response_timeout": 30,'
            b'"startup_timeout": 0, "s3_sse_kms": "true", "unknown": [1]}'
        )
        == everything
    )


def test_what_torchserves_clients_send_for_unset_is_not_given():
    unset = Registration(url="m.mar")
    query = {"batch_size": "-1", "max_batch_delay": "-100", "initial_workers": "-1", "response_timeout": "-1"}
    assert registration_from_query({"url": "m.mar", **query}) == unset
    assert registration_from_json(b'{"url": "m.mar", "batch_size": -1, "max_batch_delay": -10000}') == unset
    assert registration_from_json(b'{"url": "m.mar", "model_name": null, "synchronous": null}') == unset
    assert registration_from_query({"url": "m.mar", "model_name": "", "handler": "", "runtime": ""}) == unset


@pytest.mark.parametrize("value", ["", "eight", "8.0", " 8", "8_0", "٨", "99999999999"])
def test_an_integer_that_cannot_be_read_is_not_given(value: str):
    assert registration_from_query({"url": "m.mar", "batch_size": value}).batch_size is None


def test_an_empty_url_is_left_to_whoever_looks_for_the_archive():
    assert registration_from_query({"url": ""}).url == ""


@pytest.mark.parametrize("body", [b"{}", b'{"url": null}'])
def test_a_registration_needs_a_url(body: bytes):
    with pytest.raises(BadRequest, match=r"^Parameter url is required\.$"):
        registration_from_query({})
    with pytest.raises(BadRequest, match=r"^Parameter url is required\.$"):
        registration_from_json(body)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"url"', b'{"url": 1}', b'{"url": "m", "batch_size": "x"}', b'{"url": "\xff"}', b"[" * 10_000],
)
def test_a_json_body_that_cannot_be_read_is_a_bad_request(body: bytes):
    with pytest.raises(BadRequest, match=r"^The JSON body cannot be read: "):
        registration_from_json(body)


@given(st.binary())
def test_no_json_body_raises_anything_but_bad_request(body: bytes):
    with pytest.raises(BadRequest):
        registration_from_json(body)


def test_scaling_without_parameters_says_nothing():
    assert scaling({}) == Scaling()
    assert scaling({"min_worker": "x", "timeout": "-1", "number_gpu": "2", "synchronous": "1"}) == Scaling()


def test_scaling_takes_workers_and_live_settings():
    query = {"min_worker": "-2", "max_worker": "3", "synchronous": "True"}
    assert scaling(query) == Scaling(min_worker=-2, max_worker=3, synchronous=True)
    query = {"batch_size": "4", "max_batch_delay": "0", "response_timeout": "2"}
    assert scaling(query) == Scaling(batch_size=4, max_batch_delay_s=0.0, response_timeout_s=2.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", "0"),
        ("batch_size", "x"),
        ("max_batch_delay", "-1"),
        ("response_timeout", "0"),
        ("batch_size", ""),
    ],
)
def test_a_live_setting_out_of_range_is_a_bad_request(name: str, value: str):
    with pytest.raises(BadRequest, match=f"^Parameter {name} must be an integer of at least"):
        scaling({name: value})


def test_a_flag_is_true_only_for_true():
    assert flag({"f": "tRuE"}, "f") is True
    assert flag({"f": "1"}, "f") is False
    assert flag({}, "f") is None
