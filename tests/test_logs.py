"""What error messages show of a log."""

from __future__ import annotations

from pathlib import Path

from lab.logs import CHARACTERS, NOTHING, last_characters, last_lines


def test_the_last_lines_that_say_something(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"one\n\ntwo\n  \nthree\xff\n")
    assert last_lines(log, 2) == "two\nthree\ufffd"
    assert last_lines(log, 2, shown=str.upper) == "TWO\nTHREE\ufffd"


def test_a_log_that_is_empty_or_not_there_says_nothing(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert last_lines(log) == NOTHING
    log.write_text("\n")
    assert last_lines(log, nothing="(nothing on the console)") == "(nothing on the console)"


def test_the_last_characters(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("x" * CHARACTERS + "end")
    assert last_characters(log) == "x" * (CHARACTERS - 3) + "end"
