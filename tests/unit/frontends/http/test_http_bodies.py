from __future__ import annotations

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.errors import BadRequest
from flambeau.frontends.http.bodies import MAX_PART_HEADER_BYTES, MAX_PART_HEADERS, parameters
from flambeau.frontends.http.urlencoded import MAX_FIELDS

FORM = b"application/x-www-form-urlencoded"
MULTIPART = b"multipart/form-data; boundary=edge"


def part(headers: str, value: bytes) -> bytes:
    return b"--edge\r\n" + headers.encode() + b"\r\n\r\n" + value + b"\r\n"


def named(name: str, value: bytes) -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', value)


END = b"--edge--\r\n"


@pytest.mark.parametrize(
    ("content_type", "media_type"),
    [
        (None, ""),
        (b"", ""),
        (b"application/json", "application/json"),
        (b"application/json; charset=utf-8", "application/json"),
        (b" text/plain ;charset=utf-8", "text/plain"),
        (b"multipart/mixed; boundary=edge", "multipart/mixed"),
        (b"\xff/\xfe", "ÿ/þ"),
    ],
)
def test_any_other_body_is_one_field_as_it_is(content_type: bytes | None, media_type: str):
    body = b"\x00raw"
    fields = parameters(content_type, body)
    assert fields == [("body", media_type, body)]
    assert fields[0][2] is body


def test_an_empty_body_is_a_field_too():
    assert parameters(None, b"") == [("body", "", b"")]


def test_the_query_adds_fields_but_the_body_wins():
    query = [("a", b"1"), ("body", b"2"), ("a", b"3")]
    assert parameters(b"text/plain", b"raw", query) == [("a", "", b"3"), ("body", "text/plain", b"raw")]
    assert parameters(FORM, b"a=4", query) == [("a", "", b"4"), ("body", "", b"2")]


def test_an_urlencoded_body_is_decoded_into_fields():
    fields = parameters(FORM + b"; charset=UTF-8", b"a=1+2&%C3%B6=%FF%2B&empty=&a=last&bare&=nameless")
    assert fields == [("a", "", b"last"), ("ö", "", b"\xff+"), ("empty", "", b""), ("", "", b"nameless")]


def test_a_bare_token_is_no_field():
    assert parameters(FORM, b'{"json": 1}') == []
    assert parameters(FORM, b"") == []


@given(st.binary())
def test_any_urlencoded_body_can_be_read(body: bytes):
    for name, media_type, value in parameters(FORM, body):
        assert isinstance(name, str)
        assert media_type == ""
        assert isinstance(value, bytes)


def test_parts_keep_their_media_types_and_the_last_of_a_name_wins():
    body = (
        part('Content-Disposition: form-data; name="data"; filename="x.jpg"\r\nContent-Type: image/jpeg', b"first")
        + part('content-disposition: form-data; name="j"\r\nCONTENT-TYPE: application/json; charset=utf-8', b"{}")
        + named("data", b"second")
        + END
    )
    assert parameters(MULTIPART, body) == [("data", "", b"second"), ("j", "application/json", b"{}")]


def test_a_part_may_hold_what_looks_like_the_boundary():
    value = b"\r\n--edg\r\n--edg e\r\n-\r\n\r\n--"
    assert parameters(MULTIPART, named("data", value) + END) == [("data", "", value)]


def test_a_quoted_boundary_and_capital_letters_are_understood():
    fields = parameters(b'Multipart/Form-Data; Boundary="edge"', named("data", b"1") + END)
    assert fields == [("data", "", b"1")]


def test_what_follows_the_last_boundary_is_ignored():
    assert parameters(MULTIPART, named("data", b"1") + END + b"epilogue") == [("data", "", b"1")]


@pytest.mark.parametrize(
    ("content_type", "body", "detail"),
    [
        (b"multipart/form-data", b"", "has no boundary"),
        (b"multipart/form-data; boundary=", b"", "has no boundary"),
        (b"multipart/form-data; boundary=" + b"x" * 300, b"", "cannot be read"),
        (MULTIPART, b"", "cut short"),
        (MULTIPART, named("data", b"1"), "cut short"),
        (MULTIPART, named("data", b"1") + b"--edge-", "cut short"),
        (MULTIPART, b"not a part", "cannot be read"),
        (MULTIPART, part("Content-Type: text/plain", b"1") + END, "has no name"),
        (MULTIPART, part("Content-Disposition: form-data", b"1") + END, "has no name"),
        (MULTIPART, part("bad header: x", b"1") + END, "cannot be read"),
    ],
)
def test_a_multipart_body_that_cannot_be_read_is_a_bad_request(content_type: bytes, body: bytes, detail: str):
    with pytest.raises(BadRequest, match=rf"^Invalid HTTP message\. .*{detail}"):
        parameters(content_type, body)


def test_a_form_has_a_limit_of_fields():
    most = b"".join(named(str(i), b"") for i in range(MAX_FIELDS))
    assert len(parameters(MULTIPART, most + END)) == MAX_FIELDS
    with pytest.raises(BadRequest, match="1024 parts"):
        parameters(MULTIPART, most + named("more", b"") + END)
    assert len(parameters(FORM, b"&".join(b"%d=" % i for i in range(MAX_FIELDS)))) == MAX_FIELDS
    with pytest.raises(BadRequest, match="1024 fields"):
        parameters(FORM, b"a=&" * MAX_FIELDS)


def test_a_body_full_of_what_begins_like_a_delimiter_is_refused_before_it_is_parsed():
    with pytest.raises(BadRequest, match="1024 parts"):
        parameters(MULTIPART, named("data", b"\r\n--edge!" * 500_000) + END)


def test_a_part_has_limits_of_headers():
    disposition = 'Content-Disposition: form-data; name="data"'
    many = "\r\n".join([disposition] + [f"X-{i}: 1" for i in range(MAX_PART_HEADERS - 1)])
    assert parameters(MULTIPART, part(many, b"1") + END) == [("data", "", b"1")]
    with pytest.raises(BadRequest, match="cannot be read"):
        parameters(MULTIPART, part(many + "\r\nX: 1", b"1") + END)
    with pytest.raises(BadRequest, match="cannot be read"):
        parameters(MULTIPART, part(f"{disposition}\r\nX: {'x' * MAX_PART_HEADER_BYTES}", b"1") + END)


@given(
    st.binary()
    | st.lists(st.sampled_from([b"--edge", b"\r\n", b"--", b":", b"Content-Disposition: form-data; name=a", b"x"])).map(
        b"".join
    )
)
def test_no_multipart_body_raises_anything_but_bad_request(body: bytes):
    try:
        fields = parameters(MULTIPART, body)
    except BadRequest:
        return
    assert all(isinstance(value, bytes) for _, _, value in fields)


@given(st.binary(), st.binary())
def test_no_content_type_raises_anything_but_bad_request(options: bytes, body: bytes):
    try:
        parameters(b"multipart/form-data;" + options, body)
    except BadRequest:
        pass


@given(st.data())
@settings(max_examples=50)
def test_a_body_that_is_cut_anywhere_is_a_bad_request(data: st.DataObject):
    body = named("a", b"one") + named("b", b"two") + b"--edge--"
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(BadRequest):
        parameters(MULTIPART, body[:cut])


# What clients escape in names differs between them; these characters no client escapes.
NAMES = st.text("abcXYZ019 -_.,;'()äé", min_size=1).filter(lambda name: name == name.strip())
FILES = st.dictionaries(
    NAMES, st.tuples(st.binary(), st.sampled_from(["image/png", "application/json", "text/plain"])), min_size=1
)


@given(FILES)
def test_forms_of_httpx_come_back_as_they_were(files: dict[str, tuple[bytes, str]]):
    request = httpx.Request(
        "POST", "http://server/", files={name: ('file; name="x"', *file) for name, file in files.items()}
    )
    fields = parameters(request.headers["content-type"].encode(), request.read())
    assert fields == [(name, media_type, value) for name, (value, media_type) in files.items()]


@given(
    st.dictionaries(
        st.text(max_size=5).filter(str.isprintable), st.text(max_size=9).filter(str.isprintable), min_size=1
    )
)
def test_urlencoded_forms_of_httpx_come_back_as_they_were(form: dict[str, str]):
    request = httpx.Request("POST", "http://server/", data=form)
    fields = parameters(request.headers["content-type"].encode(), request.read())
    assert fields == [(name, "", value.encode()) for name, value in form.items()]
