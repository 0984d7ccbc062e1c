from __future__ import annotations

import pytest

from flambeau.runtime.handlers.compilation import check_valid_pt2_backend, compile_options, wants_aot_export


@pytest.mark.parametrize(
    ("pt2", "options"),
    [
        (None, None),
        ("inductor", {"backend": "inductor"}),
        ("no_such_backend", None),
        ({"backend": "eager", "mode": "default"}, {"backend": "eager", "mode": "default"}),
        ({"mode": "max-autotune"}, {"backend": "inductor", "mode": "max-autotune"}),
        ({"compile": {"enable": True}}, {"backend": "inductor"}),
        ({"compile": {"enable": True, "backend": "eager", "dynamic": True}}, {"backend": "eager", "dynamic": True}),
        ({"compile": {"enable": False, "backend": "eager"}}, None),
        ({"compile": {"backend": "eager"}}, None),
        ({"export": {"aot_compile": True}}, None),
    ],
)
def test_each_form_of_the_setting_gives_the_arguments_of_compile(pt2, options):
    assert compile_options(pt2) == options


@pytest.mark.parametrize("pt2", [3, ["inductor"]])
def test_a_setting_of_another_type_is_an_error(pt2):
    with pytest.raises(ValueError, match="pt2 should be str or dict"):
        compile_options(pt2)


def test_an_unknown_backend_is_logged(caplog):
    assert check_valid_pt2_backend("openvino")
    assert not check_valid_pt2_backend("no_such_backend")
    assert "no_such_backend" in caplog.text


@pytest.mark.parametrize(
    ("pt2", "wanted"),
    [
        ({"export": {"aot_compile": True}}, True),
        ({"export": {"aot_compile": False}}, False),
        ({"export": None}, False),
        ("inductor", False),
        (None, False),
    ],
)
def test_an_ahead_of_time_library_is_loaded_only_when_asked_for(pt2, wanted):
    assert wants_aot_export(pt2) is wanted
