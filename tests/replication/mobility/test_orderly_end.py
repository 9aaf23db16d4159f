"""The record of an orderly shutdown: who believes it, and the two scripts that write it and take it away."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.replication.mobility import boot
from lab.replication.mobility.orderly_end import (
    RECORD_BYTE,
    OrderlyEnd,
    Record,
    forget_ending,
    goes_on,
    note_ending,
    parse,
    read_ended,
)

BOOT_SCRIPT, END_SCRIPT = (Path(boot.__file__).parent / name for name in ("mobility.sh", "ending.sh"))
END = OrderlyEnd("5e1a", {"mobility-data": "a", "mobility-system": "b"})
READ_ONLY = "proc /proc proc rw 0 0\n/dev/mapper/mobility-system1 / ext4 ro,noatime 0 0\n"
DEVICE_MAPPER = """#!/bin/sh
echo "$@" >> "$0.log"
case "$1 $2" in
	"table mobility-system") echo 0 2048 log-writes 254:0 253:1 ;;
	table*) exit 1 ;;
esac
"""
NAME = st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True)


@given(st.builds(OrderlyEnd, NAME, st.dictionaries(NAME, st.sampled_from("ab"), max_size=5)))
def test_a_record_says_what_was_written(end: OrderlyEnd) -> None:
    assert parse(end.line() + "\n") == end


@given(st.text(max_size=60))
def test_anything_else_is_none(line: str) -> None:
    found = parse(line)
    assert found is None or line.startswith("recovery-mobility ")


@pytest.mark.parametrize("line", ["", "recovery-mobility", "recovery-mobility b1 mobility-data=c", "other b1 data=a"])
def test_half_a_record_is_none(line: str) -> None:
    assert parse(line) is None


def test_nothing_is_noted_that_does_not_fit(tmp_path: Path) -> None:
    note = tmp_path / "ending"
    note_ending(OrderlyEnd("b1", {f"mobility-{number:020}": "a" for number in range(200)}), tmp_path, note)
    assert not note.exists()


BEFORE = Record("b1", {"data": "a", "system": "b"}, {"data": 8, "system": 16})
AFTER = Record("b2", {"data": "b", "system": "a"}, BEFORE.sectors)


@pytest.mark.parametrize(
    ("now", "ended", "expected"),
    [
        (AFTER, OrderlyEnd("b1", BEFORE.areas), True),
        (BEFORE, None, True),
        (AFTER, None, False),
        (AFTER, OrderlyEnd("b0", BEFORE.areas), False),
        (AFTER, OrderlyEnd("b1", {"data": "a"}), False),
        (Record("b2", BEFORE.areas, BEFORE.sectors), OrderlyEnd("b1", BEFORE.areas), False),
        (Record("b2", AFTER.areas, {"data": 9, "system": 16}), OrderlyEnd("b1", BEFORE.areas), False),
    ],
    ids=["orderly", "same boot", "power", "an older end", "not all disks", "same areas again", "grown meanwhile"],
)
def test_the_record_goes_on_after_an_orderly_end_alone(now: Record, ended: OrderlyEnd | None, expected: bool) -> None:
    assert goes_on(BEFORE, now, ended) is expected


def test_what_an_earlier_release_stored_goes_on_in_the_same_boot_alone() -> None:
    before = Record.from_json({"generation": "b1", "active": {"data": "a", "system": "b"}, "closed": {}})
    assert goes_on(before, BEFORE, None)
    assert before.areas == BEFORE.areas
    assert not goes_on(before, AFTER, OrderlyEnd("b1", BEFORE.areas))


def test_what_is_stored_is_read_again() -> None:
    assert Record.from_json({"generation": "b0", "closed": {}, **vars(BEFORE)}) == BEFORE


class Machine:
    """The two scripts on a machine whose devices are files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = folder / "vdc"
        self.disk.write_bytes(bytes(4 * RECORD_BYTE))
        self.note, self.ended, self.mounts = folder / "ending", folder / "ended", folder / "mounts"
        self.mounts.write_text(READ_ONLY)
        self.dmsetup = folder / "dmsetup"
        self.dmsetup.write_text(DEVICE_MAPPER)
        self.dmsetup.chmod(0o755)

    def shut_down(self) -> None:
        note_ending(END, self.disk, self.note)
        self._run(END_SCRIPT.read_text(), {"/run/recovery-mobility/ending": self.note, "/proc/mounts": self.mounts})

    def boot(self) -> OrderlyEnd | None:
        take = BOOT_SCRIPT.read_text() + f"\nmobility_take_record {self.disk}\n"
        self._run(take, {"/run/recovery-mobility.ended": self.ended})
        return read_ended(self.ended)

    def asked_of_device_mapper(self) -> list[str]:
        record = Path(f"{self.dmsetup}.log")
        return record.read_text().splitlines() if record.exists() else []

    def _run(self, script: str, places: Mapping[str, Path]) -> None:
        for place, here in places.items():
            script = script.replace(place, str(here))
        environment = {"PATH": f"{self.folder}:/usr/bin:/bin"}
        done = subprocess.run(
            ["sh", "-c", script], check=True, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.stderr == ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_next_boot_finds_the_record_once(machine: Machine) -> None:
    machine.shut_down()
    assert machine.boot() == END
    assert machine.boot() is None, "after this one it would be believed whatever happens"
    assert machine.disk.read_bytes() == bytes(4 * RECORD_BYTE), "areas begin behind it"


def test_the_log_of_a_disk_that_is_still_mapped_is_ended(machine: Machine) -> None:
    machine.shut_down()
    assert [line for line in machine.asked_of_device_mapper() if "mobility-data" not in line] == [
        "table mobility-system",
        "load mobility-system --table 0 2048 linear 254:0 0",
        "resume mobility-system --noudevsync",
    ]


def test_no_record_while_anything_can_still_write(machine: Machine) -> None:
    machine.mounts.write_text(READ_ONLY + "/dev/mapper/mobility-data /data ext4 rw,noatime 0 0\n")
    machine.shut_down()
    assert machine.boot() is None
    assert machine.asked_of_device_mapper() == []


def test_no_record_of_a_log_that_cannot_be_ended(machine: Machine) -> None:
    machine.dmsetup.write_text(DEVICE_MAPPER + '[ "$1" != resume ]\n')
    machine.shut_down()
    assert machine.boot() is None


def test_no_record_without_the_service(machine: Machine) -> None:
    machine.shut_down()
    machine.boot()
    note_ending(END, machine.disk, machine.note)
    forget_ending(machine.note)
    machine._run(END_SCRIPT.read_text(), {"/run/recovery-mobility/ending": machine.note})
    assert machine.boot() is None


@pytest.mark.parametrize(("ended", "used"), [("a", "b"), ("b", "a"), ("", "a")])
def test_the_boot_logs_to_the_area_that_was_not_in_use(machine: Machine, ended: str, used: str) -> None:
    record = OrderlyEnd("b1", {"mobility-data": ended}).line() if ended else ""
    lines = [
        f'mobility_ended="{record}"',
        "mobility_log=/dev/null",
        "mobility_wait() { echo /dev/null; }",
        "mobility_partitions() { :; }",
        "cat() { echo 2048; }",
        'mobility_number() { echo "$1"; }',
        "mobility_map_disk data s1 1 2 3",
    ]
    machine._run(BOOT_SCRIPT.read_text() + "\n".join(lines), {})
    [made] = [line for line in machine.asked_of_device_mapper() if line.startswith("create mobility-data ")]
    assert made.endswith(f"log-writes /dev/null mobility-data-log-{used}")
