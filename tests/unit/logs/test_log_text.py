from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.logs.text import STAMP_CHARS, one_entry, one_line, stamp

NOON = datetime(2026, 1, 31, 12).timestamp()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (NOON, "2026-01-31T12:00:00,000"),
        (NOON + 0.125, "2026-01-31T12:00:00,125"),
        (NOON + 59.5, "2026-01-31T12:00:59,500"),
    ],
)
def test_stamp_is_local_time_with_milliseconds(seconds: float, text: str):
    assert stamp(seconds) == text
    assert len(text) == STAMP_CHARS


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("tab\tbed", "tab\tbed"),
        ("größer 大", "größer 大"),
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\x85\u2028", r"\x85\u2028"),
    ],
)
def test_one_line_escapes_what_could_end_a_line_or_drive_a_terminal(text: str, line: str):
    assert one_line(text) == line


@given(st.text())
def test_one_line_is_one_line(text: str):
    assert len(f"x{one_line(text)}x".splitlines()) == 1


@given(st.text())
def test_no_line_but_the_first_of_an_entry_can_look_like_an_entry(text: str):
    first, *others = one_entry(text).split("\n")
    assert all(line.startswith("\t") for line in others)
    assert len(f"x{first}x".splitlines()) == 1
