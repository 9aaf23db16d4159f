"""What surrounds the measurement of replication: the data, the peer's pipeline, waiting for the stack."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import zstandard

from lab.bench.fill import fill
from lab.bench.peer import PIPELINE
from lab.bench.replication import COMPLETE, data_disk, newest_event, protected_disks, wait_event
from lab.stacks.errors import StackError
from lab.stacks.machines import MachineState
from lab.stacks.protocol import Event, Stack
from lab.topology.load import load_topology
from lab.waiting import Deadline, DeadlineExceeded

EMBEDDED = Path(__file__).parents[2] / "topologies" / "embedded.yaml"
MIB = 1 << 20


def test_a_third_each_of_zeros_text_like_and_random(tmp_path: Path) -> None:
    target = tmp_path / "bench.bin"
    fill(target, 9 * MIB + 5)
    content = target.read_bytes()
    assert len(content) == 9 * MIB + 5
    assert content[: 3 * MIB].count(0) == 3 * MIB
    compress = zstandard.ZstdCompressor(level=1).compress
    assert 2 <= 2 * MIB / len(compress(content[4 * MIB : 6 * MIB])) <= 3
    assert len(compress(content[7 * MIB :])) > 2 * MIB


def test_the_peers_pipeline_carries_every_device(tmp_path: Path) -> None:
    for name, text in {
        "ssh": '#!/bin/sh\nshift 12\n[ "$1" = root@10.0.0.1 ] || exit 9\nzstd -dqc > "$RESULT"\n',
        "dd": '#!/bin/sh\nexec cat "${1#if=}"\n',
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    for name in ("a disk", "b"):
        (tmp_path / name).write_bytes(os.urandom(100_000))
    devices = [str(tmp_path / "a disk"), str(tmp_path / "b")]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "RESULT": str(tmp_path / "result")}
    command = ["bash", "-c", PIPELINE, "bash", "/keys", "10.0.0.1", *devices]
    subprocess.run(command, check=True, timeout=60, env=environment)
    assert (tmp_path / "result").read_bytes() == (tmp_path / "a disk").read_bytes() + (tmp_path / "b").read_bytes()
    assert subprocess.run([*command, "/missing"], check=False, timeout=60, env=environment).returncode != 0


def test_disks_of_the_topology() -> None:
    topology = load_topology(EMBEDDED)
    assert [disk.name for disk in protected_disks(topology, "app1")] == ["system", "data"]
    assert data_disk(topology, "app1").mount == "/data"


class Events:
    """As much of a stack as waiting for an event needs."""

    def __init__(self, *events: Event, state: MachineState = MachineState.INITIAL_REPLICATION) -> None:
        self._events = events
        self._state = state

    def events(self, after: int, wait: float = 0) -> Sequence[Event]:
        return [event for event in self._events if event.id > after][:2]

    def machine(self, name: str) -> Any:
        return SimpleNamespace(state=self._state, health=SimpleNamespace(causes=("broken",)))


def stack(*events: Event, state: MachineState = MachineState.INITIAL_REPLICATION) -> Stack:
    return cast("Stack", Events(*events, state=state))


def event(number: int, machine: str, kind: str = COMPLETE) -> Event:
    return Event(number, 0, kind, machine, "s1", None, {})


def test_the_event_of_the_machine_is_found_behind_others() -> None:
    source = stack(event(1, "app1"), event(2, "app2"), event(3, "app1", "progress"), event(4, "app1"))
    assert newest_event(source) == 4
    wait_event(source, 1, "app1", COMPLETE, Deadline.after(10))


def test_an_event_from_before_does_not_count() -> None:
    with pytest.raises(DeadlineExceeded, match="initial-replication-complete of app1"):
        wait_event(stack(event(1, "app1")), 1, "app1", COMPLETE, Deadline.after(0))


def test_a_failed_operation_ends_the_wait() -> None:
    with pytest.raises(StackError, match="app1 is enabling-failed: broken"):
        wait_event(stack(state=MachineState.ENABLING_FAILED), 0, "app1", COMPLETE, Deadline.after(60))
