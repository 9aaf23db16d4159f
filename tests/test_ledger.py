import json
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.ledger import EventKind, Ledger, LedgerError, file_digest, read_ledger

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "ledger.jsonl"


def write(path: Path, count: int = 3) -> None:
    ledger = Ledger(path)
    for number in range(count):
        ledger.record(EventKind.TEST, "pytest", f"test {number}", {"number": number})


def test_events_come_back_in_order(path: Path) -> None:
    write(path)
    events = read_ledger(path)
    assert [event.data["number"] for event in events] == [0, 1, 2]
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert len(events[0].at.split(".")[1]) == len("123456789Z")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(what=st.text(), data=st.dictionaries(st.text(), json_values))
def test_anything_json_survives(tmp_path: Path, what: str, data: dict[str, object]) -> None:
    path = tmp_path / "ledger.jsonl"
    event = Ledger(path).record(EventKind.MEASUREMENT, "me", what, data)
    assert read_ledger(path)[-1] == event


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data())
def test_any_changed_byte_before_the_last_line_is_found(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "ledger.jsonl"
    path.unlink(missing_ok=True)
    write(path)
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, content.rstrip(b"\n").rindex(b"\n") - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    with pytest.raises(LedgerError):
        read_ledger(path)


@pytest.mark.parametrize("drop", [0, 1])
def test_a_removed_line_is_found(path: Path, drop: int) -> None:
    write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for number, line in enumerate(lines) if number != drop))
    with pytest.raises(LedgerError, match="chain is broken"):
        read_ledger(path)


def test_a_cut_off_line_is_found_by_reader_and_writer(path: Path) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(LedgerError, match="cut off"):
        read_ledger(path)
    with pytest.raises(LedgerError, match="cut off"):
        write(path, 1)


def test_many_threads_and_two_writers_make_one_chain(path: Path) -> None:
    writers = [Ledger(path), Ledger(path)]

    def work(writer: Ledger) -> None:
        for _ in range(10):
            writer.record(EventKind.MACHINE, "thread", "wrote")

    threads = [threading.Thread(target=work, args=(writers[number % 2],)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_ledger(path)) == 60


def test_lines_longer_than_the_window_are_chained(path: Path) -> None:
    ledger = Ledger(path)
    for _ in range(3):
        ledger.record(EventKind.PROOF, "me", "long", {"text": "x" * 200_000})
    assert len(read_ledger(path)) == 3


def test_unknown_kinds_and_missing_files_are_errors(path: Path) -> None:
    with pytest.raises(LedgerError, match="No such file"):
        read_ledger(path)
    write(path, 1)
    line = json.loads(path.read_text())
    path.write_text(json.dumps({**line, "kind": "gossip"}) + "\n")
    with pytest.raises(LedgerError, match="not an event"):
        read_ledger(path)


def test_file_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a").startswith("ba7816bf")
