"""What a terminal is shown."""

import sys

from flambeau.cli.display import harmless, part_writer, show_answer, write_raw


def test_control_characters_are_shown_and_not_obeyed():
    assert harmless("a\x1b[31mb\r\nc\td\x9b") == "a\\x1b[31mb\\r\nc\td\\x9b"


def test_json_is_indented(capsys):
    assert show_answer('{"a":[1,"ü"]}'.encode(), "")
    assert capsys.readouterr().out == '{\n  "a": [\n    1,\n    "ü"\n  ]\n}\n'


def test_text_is_shown_as_it_is_with_one_line_end(capsys):
    assert show_answer(b"[bold]not markup[/bold] :smile:", "text/plain")
    assert show_answer(b"ends\n", "")
    assert capsys.readouterr().out == "[bold]not markup[/bold] :smile:\nends\n"


def test_a_number_alone_is_text(capsys):
    assert show_answer(b"12", "")
    assert capsys.readouterr().out == "12\n"


def test_what_is_no_text_is_not_shown(capsys):
    assert not show_answer(b"\xff\xd8\xff", "image/jpeg")
    assert not show_answer(b"a\0b", "")
    assert capsys.readouterr().out == ""


def test_raw_bytes_come_after_what_was_printed(capfdbinary):
    print("before")
    write_raw(b"\xff\0")
    assert capfdbinary.readouterr().out == b"before\n\xff\0"


def test_a_character_that_is_cut_in_two_is_put_together(capsys):
    write = part_writer()
    write("é".encode()[:1])
    write("é".encode()[1:] + b"\x1b")
    sys.stdout.flush()
    assert capsys.readouterr().out == "é\\x1b"
