"""The witness keeps every whole line, survives reconnects, and never mixes errors into the history."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lab.oracle.history import Batch, Ended, HistoryDamaged, parse_line, read_history
from lab.oracle.witness import Newest, Witness

STEP = "S 3 1 {first} 1 100 {acked} 0 5 5 5 8"


class Channel:
    """Hands out prepared pieces, then ends or breaks."""

    def __init__(self, *pieces: bytes, breaks: bool = False) -> None:
        self._pieces, self._breaks = list(pieces), breaks

    def recv(self, size: int, /) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        if self._breaks:
            raise ConnectionResetError
        return b""


def heard(tmp_path: Path, *channels: Channel) -> Witness:
    witness = Witness(tmp_path / "history", 2)
    for channel in channels:
        witness.listen(lambda channel=channel: channel)
        assert witness.join(10)
    return witness


def test_pieces_become_lines(tmp_path: Path) -> None:
    text = f"V 1 ab 2 1 0\n{STEP.format(first=1, acked=115)}\nM 3 1 9 1 0 115\nZ 200\n".encode()
    witness = heard(tmp_path, Channel(*[text[at : at + 7] for at in range(0, len(text), 7)]))
    assert witness.log.read_bytes() == text
    assert witness.newest() == {3: Newest(1, 115)}
    assert (witness.steps(), witness.opened(), witness.lanes_at(9)) == (1, 1, {3})
    assert isinstance(list(read_history(witness.log, 2))[-1], Ended)


def test_a_connection_that_died_goes_on_with_the_next(tmp_path: Path) -> None:
    first = Channel(f"V 1 ab 2 1 0\n{STEP.format(first=1, acked=115)}\nS 3 1 2 1 1".encode(), breaks=True)
    second = Channel(f"V 1 ab 2 2 500\n{STEP.format(first=2, acked=615)}\n".encode())
    witness = heard(tmp_path, first, second)
    batches = [event for event in read_history(witness.log, 2) if isinstance(event, Batch)]
    assert [batch.first for batch in batches] == [1, 2]
    assert witness.opened() == 2


def test_error_messages_are_remarks(tmp_path: Path) -> None:
    witness = heard(tmp_path, Channel(b"oracle: /data: No space left on device\nS 3 1 oops\n"))
    assert witness.remarks() == ("oracle: /data: No space left on device", "S 3 1 oops")
    assert witness.log.read_text() == ""


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    gate = threading.Event()

    class Waiting:
        def recv(self, size: int, /) -> bytes:
            gate.wait(10)
            return b""

    witness = Witness(tmp_path / "history", 0)
    witness.listen(Waiting)
    with pytest.raises(RuntimeError, match="already listening"):
        witness.listen(Waiting)
    gate.set()
    assert witness.join(10)


def test_a_torn_last_line_is_ignored_and_any_other_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "history"
    file.write_text(f"{STEP.format(first=1, acked=115)}\nS 3 1 2 1 1")
    assert len(list(read_history(file, 0))) == 1
    file.write_text(f"S 3 1 2 1\n{STEP.format(first=1, acked=115)}\n")
    with pytest.raises(HistoryDamaged):
        list(read_history(file, 0))


@pytest.mark.parametrize("line", ["", "Q 1", "M 1 2", "C 1 2 3", "V 1", "W x y", "E 1 2 3 4 5"])
def test_other_lines_are_no_history(line: str) -> None:
    with pytest.raises(HistoryDamaged):
        parse_line(line, 0)


def test_a_batch_must_be_whole() -> None:
    batch = parse_line("S 3 1 1 2 100 115 0 5 5 5 8", 0)
    assert isinstance(batch, Batch)
    with pytest.raises(HistoryDamaged, match="5 numbers for 2 steps"):
        list(batch.steps())
