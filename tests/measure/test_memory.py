"""Peak memory, with a real child that really uses some."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.measure.memory import PeakMemory, descendants, is_machine, pss_kib
from lab.waiting import Deadline, wait_until

CHILD = "import sys; data = b'x' * (200 << 20); print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
def small() -> float:
    with PeakMemory("no-such-lab", every=60) as memory:
        return memory.peak_mib


def test_a_child_counts_and_stays_the_peak_after_its_end(small: float) -> None:
    with PeakMemory("no-such-lab", every=0.05) as memory:
        with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            wait_until(lambda: memory.peak_mib > small + 190, Deadline.after(30), "sample with the child", every=0.05)
            child.communicate(timeout=30)
        assert memory.peak_mib > small + 190
    assert small + 190 < memory.peak_mib < small + 400


class Counted:
    """What samples see: how much is resident, and how often shares were asked for."""

    def __init__(self) -> None:
        self.resident = 100
        self.used = 70
        self.asked = 0

    def share(self, processes: object) -> int:
        self.asked += 1
        return self.used


def test_shares_are_asked_for_only_while_memory_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel walks through every page for that: a thread was at it for 30 s of a run of nine minutes."""
    seen = Counted()
    monkeypatch.setattr("lab.measure.memory.resident_kib", lambda pid: seen.resident if pid == os.getpid() else 0)
    monkeypatch.setattr("lab.measure.memory.used_kib", seen.share)
    memory = PeakMemory("no-such-lab", every=60)
    asked = []
    for resident in (100, 100, 90, 100, 101, 101):
        seen.resident = resident
        memory.sample()
        asked.append(seen.asked)
    assert asked == [1, 1, 1, 1, 2, 2]


def test_what_is_shared_no_longer_is_seen_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Counted()
    monkeypatch.setattr("lab.measure.memory.resident_kib", lambda _: 1)
    monkeypatch.setattr("lab.measure.memory.used_kib", seen.share)
    memory = PeakMemory("no-such-lab", every=60, look=0)
    for used in (70 << 10, 90 << 10, 80 << 10):
        seen.used = used
        memory.sample()
    assert memory.peak_mib == 90


def test_a_machine_is_known_by_its_guest_name() -> None:
    command = b"/usr/bin/qemu-system-x86_64\0-name\0guest=lab1.app1,debug-threads=on\0-S\0"
    assert is_machine(command, b"guest=lab1.")


@pytest.mark.parametrize(
    "command",
    [
        b"/usr/bin/qemu-system-x86_64\0-name\0guest=lab10.app1",
        b"grep\0guest=lab1.app1",
        b"",
        b"/usr/bin/qemu-system-x86_64\0-name\0other",
    ],
)
def test_others_are_no_machines_of_the_lab(command: bytes) -> None:
    assert not is_machine(command, b"guest=lab1.")


@given(st.dictionaries(st.integers(1, 40), st.integers(0, 40)), st.integers(1, 40))
def test_descendants_are_closed_under_children(parents: dict[int, int], root: int) -> None:
    found = descendants(parents, root)
    assert root in found
    assert all((pid in found) for pid, parent in parents.items() if parent in found)
    assert all(pid == root or parents[pid] in found for pid in found)


def test_the_rollup() -> None:
    assert pss_kib(b"55d0-7ffe ---p 00000000 00:00 0 [rollup]\nRss: 900 kB\nPss:  512 kB\nPss_Dirty: 1 kB\n") == 512
    assert pss_kib(b"") is None
