from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flambeau.errors import BadRequest
from flambeau.frontends.http.routes import (
    PredictRoute,
    invoked_model,
    predict_route,
    split_path,
)
from flambeau.frontends.http.urlencoded import MAX_FIELDS
from flambeau.request import EXPLAIN, PREDICT, ModelRef


def url_path(value: bytes) -> tuple[bytes, bytes]:
    return (b"url_path", value)


@pytest.mark.parametrize(
    ("target", "model", "injected"),
    [
        (b"/predictions/m", ModelRef("m"), (PREDICT, url_path(b""))),
        (b"/predictions/m/", ModelRef("m"), (PREDICT, url_path(b""))),
        (b"/predictions/m//", ModelRef("m"), (PREDICT, url_path(b""))),
        (b"/predictions/m/1.0", ModelRef("m", "1.0"), (PREDICT, url_path(b""))),
        (b"/predictions/m/1.0/a/b", ModelRef("m", "1.0"), (PREDICT, url_path(b"a/b"))),
        (b"/predictions/m/1.0/a//b/", ModelRef("m", "1.0"), (PREDICT, url_path(b"a//b"))),
        (b"/predictions/m//x", ModelRef("m", ""), (PREDICT, url_path(b"x"))),
        (b"/predictions/m?a=1", ModelRef("m"), (PREDICT, url_path(b""))),
        (b"/predictions/predict", ModelRef("predict"), (PREDICT, url_path(b""))),
        (b"/predictions/m%20%C3%B6/1%2F2", ModelRef("m ö", "1"), (PREDICT, url_path(b"2"))),
        (b"/explanations/m", ModelRef("m"), (EXPLAIN, url_path(b""))),
        (b"/explanations/m/2.0/why", ModelRef("m", "2.0"), (EXPLAIN, url_path(b"why"))),
        (b"/v1/models/m:predict", ModelRef("m"), (PREDICT,)),
        (b"/v1/models/m:explain", ModelRef("m"), (EXPLAIN,)),
        (b"/v1/models/m%3Apredict", ModelRef("m"), (PREDICT,)),
        (b"/v1/models/m:n:predict", ModelRef("m"), (PREDICT,)),
        (b"/v2/models/m/explain", ModelRef("m"), (EXPLAIN,)),
    ],
)
def test_modern_routes_name_a_model_and_inject_headers(
    target: bytes, model: ModelRef, injected: tuple[tuple[bytes, bytes], ...]
):
    assert predict_route(target) == PredictRoute(model, injected)


@pytest.mark.parametrize(
    ("target", "model"),
    [
        (b"/v2/models/m/infer", ModelRef("m")),
        (b"/v2/models/m/versions/2.0/infer", ModelRef("m", "2.0")),
    ],
)
def test_routes_of_the_open_inference_protocol_say_so(target: bytes, model: ModelRef):
    assert predict_route(target) == PredictRoute(model, (PREDICT,), is_open_inference=True)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        (b"/m/predict", ModelRef("m")),
        (b"/m/1.0/predict", ModelRef("m", "1.0")),
        (b"/models/m/invoke", ModelRef("m")),
    ],
)
def test_legacy_routes_make_fields_of_the_query(path: bytes, model: ModelRef):
    assert predict_route(path) == PredictRoute(model)
    route = predict_route(path + b"?text=a+b%21&empty=&flag&%C3%B6=%FF")
    assert route == PredictRoute(model, query=(("text", b"a b!"), ("empty", b""), ("flag", b""), ("ö", b"\xff")))


def test_invocations_takes_the_model_from_the_query():
    assert predict_route(b"/invocations?model_name=m&x=1") == PredictRoute(
        ModelRef("m"), query=(("model_name", b"m"), ("x", b"1"))
    )
    assert predict_route(b"/invocations?x=1") == PredictRoute(None, query=(("x", b"1"),))
    assert predict_route(b"/invocations/") == PredictRoute(None)


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"*",
        b"/",
        b"//predictions/m",
        b"predictions/m",
        b"/predictions",
        b"/predictions/",
        b"/explanations",
        b"/models/m",
        b"/models/m/other",
        b"/models/m/predict",
        b"/models/predict",
        b"/invocations/x",
        b"/ping/predict",
        b"/v1/models/m",
        b"/v1/models/m:other",
        b"/v1/models/m:predict/x",
        b"/v2/models/m",
        b"/v2/models/m/infer/x",
        b"/m/1.0/x/predict",
        b"/m/Predict",
        b"http://server/predictions/m",
        b"/?/predictions/m",
    ],
)
def test_other_targets_predict_nothing(target: bytes):
    assert predict_route(target) is None


@pytest.mark.parametrize(
    "path", [b"/predictions/%", b"/predictions/m%2", b"/predictions/%zz", b"/predictions/%FF", b"/\xff"]
)
def test_a_path_that_cannot_be_decoded_is_a_bad_request(path: bytes):
    with pytest.raises(BadRequest, match=r"^Invalid HTTP message\. "):
        predict_route(path)


def test_a_query_with_too_many_fields_is_a_bad_request():
    fields = b"&".join([b"a=1"] * MAX_FIELDS)
    assert predict_route(b"/m/predict?" + fields) is not None
    with pytest.raises(BadRequest, match="1024 fields"):
        predict_route(b"/m/predict?" + fields + b"&a=1")


@given(st.binary() | st.text("/%?&=:. abc019models", max_size=40).map(lambda text: b"/" + text.encode()))
@example(b"/v1/models/:predict")
def test_no_target_raises_anything_but_bad_request(target: bytes):
    try:
        route = predict_route(target)
    except BadRequest:
        return
    assert route is None or isinstance(route, PredictRoute)


SEGMENT = st.text(min_size=1).filter(lambda text: "/" not in text).filter(lambda text: text.isprintable())


@given(SEGMENT, SEGMENT)
def test_any_name_and_version_come_back_decoded(name: str, version: str):
    target = f"/predictions/{quote(name, safe='')}/{quote(version, safe='')}".encode()
    assert predict_route(target) == PredictRoute(ModelRef(name, version), (PREDICT, url_path(b"")))


@given(st.dictionaries(st.text().filter(lambda name: name.isprintable()), st.binary(), max_size=5))
def test_any_query_comes_back_as_fields(fields: dict[str, bytes]):
    route = predict_route(f"/m/predict?{urlencode(fields)}".encode())
    assert route == PredictRoute(ModelRef("m"), query=tuple(fields.items()))


def test_split_path_drops_only_empty_segments_at_the_end():
    assert split_path("/") == ()
    assert split_path("//") == ()
    assert split_path("/models/") == ("models",)
    assert split_path("//models") == ("", "models")
    assert split_path("*") == ("*",)


def test_invocations_prefer_the_only_model_loaded_at_start():
    assert invoked_model("sole", [("model_name", "", b"other")]) == ModelRef("sole")


def test_invocations_may_name_the_model_in_the_form():
    fields = [("x", "", b"1"), ("model_name", "text/plain", memoryview(b"m"))]
    assert invoked_model(None, fields) == ModelRef("m")


def test_invocations_without_any_model_are_a_bad_request():
    with pytest.raises(BadRequest, match=r"^Parameter model_name is required\.$"):
        invoked_model(None, [("body", "", b"model_name")])
