"""The row of holds on machines, without machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab.bench.holds import GROUP, Hold, holds_of, row_of, with_group
from lab.errors import BadInput, LabError
from lab.topology.load import load_topology
from lab.waiting import Deadline

TOPOLOGIES = Path(__file__).parents[2] / "topologies"


@dataclass(frozen=True)
class Event:
    id: int
    kind: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass
class Events:
    """A stack whose events come in portions; those before the first question are old."""

    portions: list[list[Event]]

    def events(self, after: int, wait: float = 0.0) -> Sequence[Event]:
        del wait
        portion = self.portions.pop(0) if self.portions else []
        return [event for event in portion if event.id > after]


def round_of(number: int, *stalls_ms: float, shared: bool = True) -> Event:
    parts = {f"app{index}": {"stall_ns": stall * 1e6} for index, stall in enumerate(stalls_ms, 1)}
    return Event(number, "group-round", {"shared": shared, "parts": parts})


def test_holds_of_rounds_from_now_on_count_and_no_others() -> None:
    stack = Events(
        [[round_of(1, 900.0, 900.0)], [], [round_of(2, 20.0, 30.0), Event(3, "health")], [round_of(4, 40.0)]]
    )
    found = holds_of(stack, 2, Deadline.after(10))
    assert found == [Hold(20.0, shared=True), Hold(30.0, shared=True), Hold(40.0, shared=True)]


def test_rounds_that_do_not_come_are_an_error() -> None:
    with pytest.raises(LabError, match="1 rounds of 2"):
        holds_of(Events([[], [round_of(1, 20.0)]]), 2, Deadline.after(0.05))


def test_one_long_hold_in_a_hundred_misses_the_goal() -> None:
    short = [Hold(20.0, shared=True)] * 60
    assert row_of(short).met
    row = row_of([*short, Hold(400.0, shared=False)])
    assert not row.met
    assert row.n == 61
    assert row.note == "99th percentile of 61 holds; median 20, longest 400 ms; 1 in rounds without a shared point"


def test_the_group_is_of_two_machines_of_the_topology() -> None:
    topology = with_group(load_topology(TOPOLOGIES / "embedded.yaml"))
    assert list(topology.stack.groups) == [GROUP]
    assert topology.stack.groups[GROUP].members == ("app1", "app2")
    assert topology.stack.groups[GROUP].multi_vm_consistency
    with pytest.raises(BadInput, match="2 machines protected by an agent are needed"):
        with_group(load_topology(TOPOLOGIES / "drbd.yaml"))
