import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.config.server import Address, MetricsMode, StartupModel
from flambeau.config.values import (
    BOOLEAN,
    INVERTED_BOOLEAN,
    METRICS_MODE,
    MODEL_DEFAULTS,
    REGEXES,
    STARTUP_MODELS,
    address,
    duration,
    integer,
)

MANAGEMENT = address(8081, 8444)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://127.0.0.1:8080", Address("http", "127.0.0.1", 8080)),
        ("HTTPS://0.0.0.0:443", Address("https", "0.0.0.0", 443)),
        ("http://localhost", Address("http", "localhost", 8081)),
        ("https://localhost", Address("https", "localhost", 8444)),
        ("http://[::1]:80", Address("http", "::1", 80)),
        ("http://h:0", Address("http", "h", 0)),
        ("unix:/tmp/a.sock", Address("unix", path="/tmp/a.sock")),
        (" http://h:1 ", Address("http", "h", 1)),
    ],
)
def test_addresses_are_read_with_their_default_ports(text, expected):
    assert MANAGEMENT.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "127.0.0.1:8080", "ftp://h:1", "http://", "http://h:1/path", "unix:a", "http://h:"]
)
def test_what_is_no_address_is_refused_in_torchserves_words(text):
    with pytest.raises(ValueError, match="Invalid binding address: "):
        MANAGEMENT.parse(text)


@pytest.mark.parametrize("port", ["65535", "70000"])
def test_ports_are_below_65535(port):
    with pytest.raises(ValueError, match=f"Invalid port number: {port}"):
        MANAGEMENT.parse(f"http://h:{port}")


@given(st.sampled_from(["http", "https"]), st.sampled_from(["h", "1.2.3.4", "::1"]), st.integers(0, 65534))
def test_an_address_reads_back_as_it_is_written(scheme, host, port):
    expected = Address(scheme, host, port)
    assert MANAGEMENT.parse(MANAGEMENT.format(expected)) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("true", True), ("TRUE", True), ("yes", False), ("1", False), ("", False)]
)
def test_only_the_word_true_is_true(text, expected):
    assert BOOLEAN.parse(text) is expected
    assert INVERTED_BOOLEAN.parse(text) is not expected


def test_a_boolean_that_is_neither_word_is_remarked_on():
    assert BOOLEAN.remark("yes") == "counts as false: only the word 'true' is true"
    assert BOOLEAN.remark("False") is None


@pytest.mark.parametrize("text", ["", "1.0", "1_000", "٣", "one", "0x10"])
def test_integers_are_decimal_digits(text):
    with pytest.raises(ValueError, match="must be an integer"):
        integer(0).parse(text)


def test_integers_have_bounds():
    assert integer(1, 3).parse(" +3 ") == 3
    with pytest.raises(ValueError, match="at least 1"):
        integer(1).parse("0")
    with pytest.raises(ValueError, match="at most 3"):
        integer(1, 3).parse("4")


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "soon"])
def test_durations_are_positive_numbers(text):
    with pytest.raises(ValueError, match="must be"):
        duration("seconds", 1, zero=False).parse(text)


def test_durations_are_kept_in_seconds():
    minutes = duration("minutes", 60, zero=False)
    assert minutes.parse("0.5") == 30.0
    assert minutes.format(30.0) == "0.5"


@pytest.mark.parametrize(("text", "expected"), [(" Prometheus ", MetricsMode.PROMETHEUS), ("lgo", MetricsMode.LOG)])
def test_metrics_mode_is_read_in_any_letter_case_and_falls_back_to_log(text, expected):
    assert METRICS_MODE.parse(text) is expected
    assert (METRICS_MODE.remark(text) is None) == (text != "lgo")


def test_regexes_are_split_at_commas_and_checked():
    assert REGEXES.parse(r"https://a\.b/.*, file://.*") == (r"https://a\.b/.*", "file://.*")
    with pytest.raises(ValueError, match="not a regular expression"):
        REGEXES.parse("file://.*,(")


def test_startup_models_are_files_with_or_without_names():
    value = STARTUP_MODELS.parse("a.mar, n=b.mar ,https://h/c.mar?x=y,/d=e/f.mar,")
    assert value.models == (
        StartupModel(url="a.mar"),
        StartupModel(url="b.mar", name="n"),
        StartupModel(url="https://h/c.mar?x=y"),
        StartupModel(url="/d=e/f.mar"),
    )
    assert not value.load_all
    assert STARTUP_MODELS.parse(STARTUP_MODELS.format(value)) == value


def test_all_loads_everything_and_nothing_loads_none():
    assert STARTUP_MODELS.parse("ALL").load_all
    assert STARTUP_MODELS.parse("") == (False, ())


@pytest.mark.parametrize("text", ["{", "[]", '{"m": 1}', '{"m": {"1.0": []}}'])
def test_the_models_property_is_an_object_of_versions(text):
    with pytest.raises(ValueError, match=r"JSON|must be"):
        MODEL_DEFAULTS.parse(text)
