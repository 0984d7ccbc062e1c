import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.config.properties import ENCODING, Property, format_properties, parse_properties
from flambeau.errors import ConfigError


def pairs(text: str) -> list[tuple[str, str]]:
    return [(key, value) for key, value, _ in parse_properties(text, "test")]


@pytest.mark.parametrize("line", ["a=b", "a:b", "a b", "a = b", "  a\t:\fb", "a   b", "a =b"])
def test_key_and_value_are_separated_by_equals_sign_colon_or_blanks(line):
    assert pairs(line) == [("a", "b")]


def test_only_the_first_separator_counts():
    assert pairs("inference_address=http://127.0.0.1:8080?a=b") == [
        ("inference_address", "http://127.0.0.1:8080?a=b"),
    ]
    assert pairs("a = = b") == [("a", "= b")]


def test_comments_and_empty_lines_are_passed_over_and_lines_are_counted():
    text = "# one\n! two\n\n   # three\na=1\r\n\r\nb=2\rc=3"
    assert parse_properties(text, "test") == [Property("a", "1", 5), Property("b", "2", 7), Property("c", "3", 8)]


def test_a_backslash_at_the_end_goes_on_in_the_next_line_without_its_indent():
    assert parse_properties("models={\\\n   \\\n  # no comment\\\n}\nb=2", "test") == [
        Property("models", "{# no comment}", 1),
        Property("b", "2", 5),
    ]


def test_two_backslashes_at_the_end_are_one_backslash():
    assert pairs("a=b\\\\\nc=d") == [("a", "b\\"), ("c", "d")]


def test_a_backslash_at_the_end_of_the_file_is_dropped():
    assert pairs("a=b\\") == [("a", "b")]


def test_escapes():
    assert pairs(r"a\=\:\ b=\t\n\r\f\q\u00e9\uD83D\uDE00") == [("a=: b", "\t\n\r\fqé😀")]


def test_a_key_alone_has_an_empty_value():
    assert pairs("a\nb=\nc:") == [("a", ""), ("b", ""), ("c", "")]


def test_trailing_blanks_belong_to_the_value():
    assert pairs("a=b  ") == [("a", "b  ")]


def test_form_feeds_and_the_like_do_not_end_lines():
    assert pairs("a=b\x0cc\x1cd\x85e") == [("a", "b\x0cc\x1cd\x85e")]


def test_a_key_that_stands_twice_is_there_twice():
    assert pairs("a=1\na=2") == [("a", "1"), ("a", "2")]


@pytest.mark.parametrize("value", [r"\u12", r"\uXYZW", "\\u"])
def test_a_broken_unicode_escape_is_an_error_with_its_line(value):
    with pytest.raises(ConfigError, match=r"test:2: a=.*four hexadecimal digits"):
        parse_properties(f"b=1\na={value}", "test")


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_whatever_is_written_reads_back_the_same(properties):
    text = format_properties(properties)
    assert text.encode(ENCODING).decode(ENCODING) == text
    assert dict(pairs(text)) == properties


@given(st.text(alphabet=st.sampled_from("ab=:# !\\\n\r\t u0")))
def test_any_text_reads_or_is_a_config_error(text):
    try:
        entries = parse_properties(text, "test")
    except ConfigError:
        return
    lines = [entry.line for entry in entries]
    assert lines == sorted(set(lines))
