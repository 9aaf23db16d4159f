from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.machines.console import TAIL_LINES, console_tail, without_control

NOTHING = "(nothing on the console)"


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"\x1b[2J\x1b[01;01HSeaBIOS", "SeaBIOS"),
        (b"\x1b[?7l\x1b[=3hGRUB", "GRUB"),
        (b"\x1b[0;1;31mFailed\x1b[0m to start", "Failed to start"),
        (b"\x1b]0;root@app1\x07# ", "# "),
        (b"\x1b]0;root@app1\x1b\\# ", "# "),
        (b"\x1b(B\x1b)0\x1b=plain\x1bc", "plain"),
        (b"a\x00b\x08c\x7fd", "abcd"),
        (b"tab\tstays", "tab\tstays"),
        (b"one\r\n\r\ntwo\r\n", "one\ntwo"),
        (b"caf\xc3\xa9 \xff", "caf\u00e9 \ufffd"),
    ],
)
def test_control_sequences_are_not_shown(tmp_path: Path, printed: bytes, shown: str) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(printed)
    assert console_tail(log) == shown


def test_only_the_last_lines_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text("".join(f"line {number}\n\n" for number in range(100)))
    assert console_tail(log).splitlines() == [f"line {number}" for number in range(100 - TAIL_LINES, 100)]
    assert console_tail(log, 1) == "line 99"


@pytest.mark.parametrize("content", [None, b"", b"\r\n \x1b[2J\n"])
def test_an_empty_console_says_so(tmp_path: Path, content: bytes | None) -> None:
    log = tmp_path / "console.log"
    if content is not None:
        log.write_bytes(content)
    assert console_tail(log) == NOTHING


@given(st.text())
def test_no_text_leaves_an_escape_behind(text: str) -> None:
    assert "\x1b" not in without_control(text)


@given(st.text(st.characters(whitelist_categories=("L", "N", "P", "S"))))
def test_plain_text_is_kept(text: str) -> None:
    assert without_control(text) == text
