"""Rows of a cold lab: their place, and who is measured in a turn. No lab is made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.bench import lab_up, on_machines
from lab.bench.__main__ import NAMES, chosen_names
from lab.bench.asked import Asked, Problems
from lab.bench.lab_up import NAME, VIRT_INSTALL, rows
from lab.bench.rows import Row
from lab.bench.unpacked import NotToBeHad
from lab.errors import LabError
from lab.provision.home import Home
from lab.topology.load import load_topology

EMBEDDED = load_topology(Path(__file__).parents[2] / "topologies" / "embedded.yaml")


@dataclass
class Bench:
    """What happened, in order, and what was said and reported."""

    happened: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    reported: list[Row] = field(default_factory=list)

    def step(self, subject: str, step: str) -> None:
        self.said.append(f"{subject}: {step}")

    def asked(self, *names: str, times: int = 1) -> Asked:
        def report(rows: Sequence[Row]) -> None:
            self.reported += rows

        return Asked(frozenset(names), times, report, Problems(self))

    def happens(self, what: str, error: LabError | None = None) -> Callable[..., float]:
        def act(*_: object, **__: object) -> float:
            self.happened.append(what)
            if error is not None:
                raise error
            return 60.0

        return act


class Lab:
    def close(self) -> None:
        """Nothing is open."""


@dataclass
class Peer:
    refused: str = ""

    def provide(self) -> None:
        if self.refused:
            raise NotToBeHad(self.refused)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()
    monkeypatch.setattr(lab_up, "provided", lambda topology, home: {})
    monkeypatch.setattr(lab_up, "_mode", lambda home, images: "tcg")
    monkeypatch.setattr(lab_up, "PROGRAM", Peer())
    monkeypatch.setattr(lab_up, "tear_down", made.happens("down"))
    monkeypatch.setattr(lab_up, "_by_hand", made.happens("bare"))
    monkeypatch.setattr(lab_up, "by_virt_install", made.happens("virt-install"))
    monkeypatch.setattr(lab_up, "bring_up", lambda *_: made.happens("ours")() and Lab())
    return made


def test_the_peer_comes_with_lab_up_and_by_its_own_name() -> None:
    assert chosen_names(["lab-up"]) == {NAME, VIRT_INSTALL}
    assert chosen_names([VIRT_INSTALL]) == {VIRT_INSTALL}
    assert chosen_names(["lab-up-warm"]) == {"lab-up-warm"}
    assert VIRT_INSTALL in NAMES
    assert [part.names >= {NAME, VIRT_INSTALL} for part in on_machines.PARTS if VIRT_INSTALL in part.names] == [True]


def test_rows_say_what_is_met() -> None:
    made = {row.name: row for row in rows({NAME: [(11.6, 10.0)], VIRT_INSTALL: [(10.0, 12.0)]})}
    assert (made[NAME].limit, made[NAME].goal, made[NAME].met) == (10, 1.15, False)
    peer = made[VIRT_INSTALL]
    assert (peer.peer, peer.ratio, peer.goal, peer.met) == (12, 1.2, 1, True)
    assert rows({NAME: [], VIRT_INSTALL: []}) == []


def test_all_are_measured_in_each_turn_and_the_lab_stays_up(bench: Bench, tmp_path: Path) -> None:
    assert lab_up.lab_up(EMBEDDED, Home(tmp_path), bench.asked(NAME, VIRT_INSTALL, times=2))
    assert bench.happened == ["down", "bare", "virt-install", "ours"] * 2
    assert [(row.name, row.n) for row in bench.reported] == [(NAME, 2), (VIRT_INSTALL, 2)]


def test_one_row_alone_does_without_the_other(bench: Bench, tmp_path: Path) -> None:
    assert lab_up.lab_up(EMBEDDED, Home(tmp_path), bench.asked(VIRT_INSTALL))
    assert bench.happened == ["down", "virt-install", "ours"]
    assert not lab_up.lab_up(EMBEDDED, Home(tmp_path), bench.asked("failover"))


def test_a_peer_that_fails_takes_no_other_row_with_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failed = bench.happens("virt-install", LabError("no SSH login to app2"))
    monkeypatch.setattr(lab_up, "by_virt_install", failed)
    asked = bench.asked(NAME, VIRT_INSTALL)
    assert lab_up.lab_up(EMBEDDED, Home(tmp_path), asked)
    assert [row.name for row in bench.reported] == [NAME]
    with pytest.raises(LabError, match=f"{VIRT_INSTALL}: no SSH login to app2"):
        asked.problems.tell()


def test_a_peer_that_cannot_be_had_is_left_out(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lab_up, "PROGRAM", Peer(refused="virt-install: no such package"))
    asked = bench.asked(NAME, VIRT_INSTALL)
    assert lab_up.lab_up(EMBEDDED, Home(tmp_path), asked)
    assert [row.name for row in bench.reported] == [NAME]
    assert f"{VIRT_INSTALL}: is left out: virt-install: no such package" in bench.said
    asked.problems.tell()
    bench.happened.clear()
    assert not lab_up.lab_up(EMBEDDED, Home(tmp_path), bench.asked(VIRT_INSTALL))
    assert bench.happened == []


def test_nobody_waits_for_logins_to_machines_of_an_interrupted_turn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waiting, ended = threading.Event(), threading.Event()
    found: list[bool] = []

    @contextmanager
    def started(machines: Sequence[SimpleNamespace], mode: str) -> Iterator[dict[str, str]]:
        try:
            yield {machine.name: "process" for machine in machines}
        finally:
            ended.set()

    def wait_login(machine: SimpleNamespace, *_: object) -> None:
        if machine.name == "interrupted":
            assert waiting.wait(10)
            raise KeyboardInterrupt
        waiting.set()
        found.append(ended.wait(2))

    machines = [SimpleNamespace(name=name) for name in ("interrupted", "app1")]
    monkeypatch.setattr(lab_up, "prepare", lambda topology, images, folder: machines)
    monkeypatch.setattr(lab_up, "started", started)
    monkeypatch.setattr(lab_up, "wait_login", wait_login)
    with pytest.raises(KeyboardInterrupt):
        lab_up._by_hand(EMBEDDED, Home(tmp_path), {}, "tcg", Bench())
    assert found == [True]
