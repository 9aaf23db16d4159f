"""Initial replication beside its peers, as one course of events: rows come at once, and one failure takes no other."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from lab.bench import on_machines
from lab.bench import replication as module
from lab.bench.__main__ import NAMES
from lab.bench.asked import Asked, Problems
from lab.bench.replication import Bench
from lab.bench.replication_rows import NAMES as OF_REPLICATION
from lab.bench.replication_rows import WHAT
from lab.bench.rows import Row
from lab.errors import BadInput, LabError
from lab.topology.load import load_topology

EMBEDDED = Path(__file__).parents[2] / "topologies" / "embedded.yaml"
BOARD = SimpleNamespace(step=lambda subject, step: None)


class World:
    """What happens, in order; nothing is done."""

    def __init__(self, patch: pytest.MonkeyPatch, breaks: str = "") -> None:
        self.told: list[str] = []
        self.reported: list[dict[str, Row]] = []
        self._breaks = breaks
        for name in ("install", "end_protection"):
            patch.setattr(module, name, lambda *words, name=name: self.told.append(name))
        patch.setattr(module, "replicate", lambda stack, name: self.tell("replicate") or (20.0, 30.0))
        patch.setattr(module, "device_by_serial", lambda ssh, serial: f"/dev/{serial}")
        patch.setattr(module, "connected", lambda mirror, protocol: self.there(f"drbd over {mirror.via}"))
        patch.setattr(module, "tunnelled", lambda mirror: self.there("tunnel", SimpleNamespace(via="tunnel")))
        patch.setattr(module, "hops", lambda lab, name, peer: f"{name} {peer}")
        patch.setattr(module, "lent_keys", lambda way: self.there(f"keys of {way}"))
        patch.setattr(module, "synchronise", lambda mirror: self.tell("first copy") or 25.0)
        patch.setattr(module, "seconds_over_ssh", self.copy_over_ssh)
        stages = SimpleNamespace(
            measured=lambda mirror, size: self.tell(f"stages of {size >> 20} MiB") or {"read": 16.0, "write": 2.0},
            send_tool=lambda machines: None,
            spoil=lambda mirror: self.tell("spoil"),
            compare=lambda mirror, peer: self.tell("compare"),
        )
        patch.setattr(module, "stages", stages)

    def copy_over_ssh(self, peer: str, source: object, from_device: str, to_device: str) -> float:
        # Links to devices are none to rsync.
        assert {from_device, to_device} == {"/dev/mirror-app1"}
        self.tell(peer)
        return 40.0

    @contextmanager
    def there(self, what: str, found: object = None) -> Any:
        self.tell(what)
        yield found
        self.tell(f"{what} gone")

    def tell(self, what: str) -> None:
        self.told.append(what)
        if what == self._breaks:
            raise LabError(f"{what} failed")

    def measure(self, what: list[str], times: int = 1) -> Problems:
        ssh = SimpleNamespace(
            put=lambda content, path: None,
            check=lambda *words, seconds: self.tell("copy" if words[0] == "sh" else f"fill {' '.join(words[2:])}"),
        )
        end = SimpleNamespace(ssh=ssh, address="10.0.0.1")
        mirror = SimpleNamespace(source=end, target=end, ends=(end, end), disk="/dev/mirror", via="lab")
        problems = Problems(BOARD)
        asked = Asked(frozenset(), times, lambda rows: self.reported.append({row.name: row for row in rows}), problems)
        lab = SimpleNamespace(topology=load_topology(EMBEDDED))
        Bench(cast("Any", None), cast("Any", lab), "app1", cast("Any", mirror), asked).data_set("half", what)
        return problems


def test_the_stack_comes_first_and_is_off_when_peers_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    problems = world.measure(list(WHAT))
    assert world.told == [
        *("install", "end_protection", f"fill /data/bench.bin {int((256 << 20) * 0.8)} half", "replicate"),
        *("end_protection", "copy", "stages of 1156 MiB"),
        *("spoil", "keys of app1 dd", "dd", "keys of app1 dd gone", "compare"),
        *("spoil", "keys of app1 relay", "relay", "keys of app1 relay gone", "compare"),
        *("spoil", "keys of app1 rsync", "rsync", "keys of app1 rsync gone", "compare"),
        *("spoil", "tunnel", "drbd over tunnel", "first copy", "drbd over tunnel gone", "tunnel gone", "compare"),
        *("spoil", "drbd over lab", "first copy", "drbd over lab gone", "compare"),
    ]
    assert not problems.found
    last = world.reported[-1]
    assert {name.removeprefix("initial-replication-half-"): row.ratio for name, row in last.items()} == {
        "dd": 2,
        "relay": 2,
        "rsync": 2,
        "drbd-wireguard": 1.25,
        "drbd": 1.25,
        "limit": 0.8,
        "until-protected": 1.5,
    }


def test_rows_are_reported_as_soon_as_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.measure(["dd", "drbd"], times=2)
    assert [len(rows) for rows in world.reported] == [1, 2, 3, 3, 3, 3]
    assert world.reported[-1]["initial-replication-half-dd"].n == 2


@pytest.mark.parametrize("breaks", ["rsync", "compare"])
def test_a_peer_that_fails_makes_no_row_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch, breaks: str) -> None:
    world = World(monkeypatch, breaks)
    problems = world.measure(["rsync", "drbd"])
    assert "drbd over lab gone" in world.told
    assert not any(name.endswith("rsync") for name in world.reported[-1])
    assert problems.found[0] == f"initial-replication-half-rsync: {breaks} failed"
    with pytest.raises(LabError, match=f"{breaks} failed"):
        problems.tell()


def test_what_was_asked_for_wrongly_is_not_put_aside() -> None:
    problems = Problems(BOARD)
    with pytest.raises(BadInput, match="no such"), problems.put_aside("row"):
        raise BadInput("no such thing")
    problems.tell()


def test_every_row_that_needs_machines_belongs_to_one_lab() -> None:
    names = [name for part in on_machines.PARTS for name in part.names]
    assert len(names) == len(set(names))
    assert {"churn", "churn-drbd", "overhead-drbd", "failover", *OF_REPLICATION} < set(names) < set(NAMES)


def test_a_lab_that_fails_takes_no_other_rows_and_the_last_one_is_taken_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[str] = []

    def part(name: str, *, breaks: bool = False) -> on_machines.Part:
        def measured_by(*words: object) -> None:
            told.append(name)
            if breaks:
                raise LabError(f"{name} failed")

        return on_machines.Part(frozenset({name}), measured_by)

    monkeypatch.setenv("RECOVERY_LAB_HOME", str(tmp_path))
    monkeypatch.setattr(on_machines, "PARTS", (part("a", breaks=True), part("b"), part("not asked for")))
    monkeypatch.setattr(on_machines, "leased", lambda home, name: nullcontext())
    monkeypatch.setattr(on_machines, "tear_down", lambda home, name, board: told.append("down"))
    with pytest.raises(LabError, match="a: a failed"):
        on_machines.measure(load_topology(EMBEDDED), frozenset({"a", "b"}), 1, Console(quiet=True), lambda rows: None)
    assert told == ["a", "b", "down"]


def test_a_part_that_fails_is_told_by_the_rows_that_were_asked_for() -> None:
    part = next(part for part in on_machines.PARTS if "initial-replication-half-dd" in part.names)
    assert part.told(frozenset({"initial-replication-half-dd", "plan-10000"})) == "initial-replication-half-dd"
    assert part.told(frozenset({f"initial-replication-{data}-dd" for data in ("half", "random", "zeros")})) == (
        "initial-replication-half-dd and others"
    )
