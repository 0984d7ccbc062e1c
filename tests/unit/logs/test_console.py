from __future__ import annotations

import io

from flambeau.logs.console import MAX_PENDING_LINES, ConsoleLines, put_text


class Gone(io.StringIO):
    """A stream whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


class Ascii(io.StringIO):
    """A stream that takes ASCII alone."""

    def write(self, text: str) -> int:
        text.encode("ascii")
        return super().write(text)


def test_lines_are_written_when_it_is_flushed_and_not_before():
    stream = io.StringIO()
    console = ConsoleLines(stream)
    console.write("one")
    console.write("two")
    assert stream.getvalue() == ""
    console.flush()
    console.flush()
    assert stream.getvalue() == "one\ntwo\n"


def test_lines_that_nobody_takes_are_bounded_and_counted():
    stream = io.StringIO()
    console = ConsoleLines(stream)
    for number in range(MAX_PENDING_LINES + 7):
        console.write(str(number))
    console.flush()
    lines = stream.getvalue().splitlines()
    assert len(lines) == MAX_PENDING_LINES + 1
    assert lines[-1] == "… and 7 more lines, which are in the log"


def test_a_reader_that_has_gone_is_left_alone():
    console = ConsoleLines(Gone())
    console.write("one")
    console.flush()
    assert put_text(Gone(), "text") is False


def test_what_a_stream_cannot_encode_is_escaped():
    stream = Ascii()
    assert put_text(stream, "caf\u00e9\n") is True
    assert stream.getvalue() == "caf\\xe9\n"
