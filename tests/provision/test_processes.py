"""Processes beside the machines, and the lease that keeps commands apart."""

import gc
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.provision import processes
from lab.provision.home import Home, LabFolder
from lab.provision.lease import leased
from lab.provision.processes import LabProcess, end_all, kill_and_start_again, recorded, spawn, start_time
from lab.waiting import Deadline, wait_until

SLEEP = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)",
]


@pytest.fixture(autouse=True)
def _end(folder: LabFolder) -> Iterator[None]:
    yield
    for process in recorded(folder):
        if process.alive:
            os.kill(process.pid, signal.SIGKILL)


def started(folder: LabFolder, name: str, argv: list[str] = SLEEP) -> LabProcess:
    process = spawn(folder, name, argv, {})
    log = folder.processes / f"{name}.log"
    wait_until(lambda: "ready" in log.read_text(), Deadline.after(10), "start", every=0.02)
    return process


def test_a_process_is_recorded_and_ended(folder: LabFolder) -> None:
    process = started(folder, "fabric")
    assert process.alive
    assert recorded(folder) == [process]
    assert os.getsid(process.pid) == process.pid
    assert end_all(folder) == ["process fabric"]
    assert not process.alive
    assert recorded(folder) == []
    assert end_all(folder) == []


def test_a_process_gets_its_environment_and_no_other(folder: LabFolder) -> None:
    spawn(
        folder, "env", [sys.executable, "-c", "import os; print(sorted(os.environ))"], {"ONLY": "this", "LC_ALL": "C"}
    )
    log = folder.processes / "env.log"
    wait_until(lambda: "ONLY" in log.read_text(), Deadline.after(10), "output", every=0.02)
    assert log.read_text().strip() == "['LC_ALL', 'ONLY']"


def test_a_killed_process_is_started_as_it_was(folder: LabFolder) -> None:
    code = "import os, time; print('ready', os.environ['SECRET'], flush=True); time.sleep(600)"
    first = spawn(folder, "azurite", [sys.executable, "-c", code], {"SECRET": "a=b c"})
    log = folder.processes / "azurite.log"
    wait_until(lambda: log.read_text().count("ready a=b c") == 1, Deadline.after(10), "start", every=0.02)
    old, new = kill_and_start_again(folder, "azurite")
    assert (old, old.alive, new.alive) == (first, False, True)
    wait_until(lambda: log.read_text().count("ready a=b c") == 2, Deadline.after(10), "start", every=0.02)
    assert recorded(folder) == [new]
    with pytest.raises(LabError, match="process fabric of lab"):
        kill_and_start_again(folder, "fabric")


def test_a_process_that_ignores_the_polite_way_is_killed(folder: LabFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "END_SECONDS", 0.3)
    process = started(folder, "stubborn", STUBBORN)
    assert end_all(folder) == ["process stubborn"]
    wait_until(lambda: not process.alive, Deadline.after(5), "end", every=0.02)


def test_a_process_that_ends_by_itself_in_between_does_no_harm(
    folder: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = started(folder, "fabric")

    def too_late(pid: int, number: int) -> None:
        monkeypatch.undo()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not process.alive, Deadline.after(5), "end", every=0.02)
        raise ProcessLookupError(pid)

    monkeypatch.setattr(processes.os, "kill", too_late)
    assert end_all(folder) == ["process fabric"]


def test_another_process_with_the_same_number_is_left_alone(folder: LabFolder) -> None:
    process = started(folder, "fabric")
    record = folder.processes / "fabric.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "started": str(int(process.started) - 1)}))
    assert [each.alive for each in recorded(folder)] == [False]
    assert end_all(folder) == []
    assert process.alive
    assert not record.exists()
    os.kill(process.pid, signal.SIGKILL)


def test_a_dead_process_is_not_alive(folder: LabFolder) -> None:
    process = started(folder, "fabric")
    os.kill(process.pid, signal.SIGKILL)
    # Nobody has waited for it: it is a zombie, which counts as gone.
    wait_until(lambda: not process.alive, Deadline.after(5), "end", every=0.02)
    assert end_all(folder) == []


def test_start_times_are_of_processes_that_run() -> None:
    assert start_time(os.getpid()) == start_time(os.getpid()) is not None
    assert start_time(2**22 + 1) is None


def test_a_program_that_does_not_exist_is_an_error(folder: LabFolder) -> None:
    with pytest.raises(LabError, match="fabric did not start"):
        spawn(folder, "fabric", ["/no/such/program"], {})
    assert recorded(folder) == []


def test_nothing_is_recorded_where_there_is_no_lab(home: Home) -> None:
    assert recorded(home.lab("never")) == []
    assert end_all(home.lab("never")) == []


def hold(folder: Path, ready: Connection) -> None:
    with leased(Home(folder), "lab1"):
        ready.send("held")
        ready.recv()


@pytest.mark.parametrize("end", ["release", "kill"])
def test_one_command_at_a_time_changes_a_lab(home: Home, end: str) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    other = context.Process(target=hold, args=(home.folder, theirs))
    other.start()
    try:
        assert ours.poll(30)
        assert ours.recv() == "held"
        with pytest.raises(LabError, match="another command is working with lab lab1"), leased(home, "lab1"):
            pytest.fail("two commands hold one lease")
        with leased(home, "lab2"):
            pass
        if end == "kill":
            other.kill()
        else:
            ours.send("release")
        other.join(30)
        with leased(home, "lab1"):
            pass
    finally:
        other.kill()
        other.join(30)
        other.close()
        ours.close()
        theirs.close()


def test_a_lease_ends_with_its_block_even_on_an_error(home: Home) -> None:
    with pytest.raises(ZeroDivisionError), leased(home, "lab1"):
        raise ZeroDivisionError
    with leased(home, "lab1"):
        pass


def test_a_process_that_outlives_us_is_no_forgotten_child(folder: LabFolder) -> None:
    """Pytest turns a warning about a child that nobody waited for into an error."""
    spawn(folder, "sleeper", ["sleep", "60"], {"PATH": os.environ["PATH"]})
    gc.collect()
    assert end_all(folder) == ["process sleeper"]
