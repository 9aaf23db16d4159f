"""The rows that need machines: which of them share a lab, and the lab of each part."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from rich.console import Console

from lab.bench import (
    churn_mirror,
    churn_steps,
    failover,
    holds,
    lab_up,
    lab_up_warm,
    overhead,
    replication,
    replication_rows,
)
from lab.bench.asked import Asked, Problems
from lab.bench.equipped import equipped
from lab.bench.rows import Report
from lab.provision.board import Board, ConsoleBoard
from lab.provision.down import tear_down
from lab.provision.home import Home
from lab.provision.lab import Lab
from lab.provision.lease import leased
from lab.provision.up import open_lab
from lab.saved.ready import deployed_and_saved, make_ready
from lab.topology.model import Topology

MANY = 3


def measure(topology: Topology, names: frozenset[str], times: int, console: Console, report: Report) -> None:
    """Measure what needs the lab "bench", and take it down. Raises LabError at the end for what went wrong."""
    home = Home.default()
    with leased(home, lab_up.LAB), ConsoleBoard(console, "bench") as board:
        asked = Asked(names, times, report, Problems(board))
        try:
            for part in PARTS:
                if part.names & names:
                    with asked.problems.put_aside(part.told(names)):
                        part.measured_by(topology, home, asked)
        finally:
            tear_down(home, lab_up.LAB, board)
        asked.problems.tell()


def _warm(topology: Topology, home: Home, asked: Asked) -> None:
    asked.report(lab_up_warm.lab_up_warm(topology, home, asked.board, asked.times))


def _plain(topology: Topology, home: Home, asked: Asked) -> None:
    made = lab_up.lab_up(topology, home, asked)
    if failover.NAME in asked.names:
        with closing(_lab(topology, home, asked.board, made=made)) as lab:
            asked.report([failover.failover(lab, asked.board, asked.times)])


def _beside_peers(topology: Topology, home: Home, asked: Asked) -> None:
    """Measure churn first, which wants machines that nobody has protected before."""
    with closing(_lab(equipped(topology), home, asked.board, made=False)) as lab:
        if CHURN & asked.names:
            with asked.problems.put_aside(churn_steps.NAME):
                churn_mirror.churn_rows(lab, asked)
        if REPLICATION & asked.names:
            replication.replication(lab, asked)


def _grouped(topology: Topology, home: Home, asked: Asked) -> None:
    with closing(_lab(holds.with_group(topology), home, asked.board, made=False)) as lab:
        asked.report([holds.group_holds(lab, asked.board, asked.times)])


def _lab(topology: Topology, home: Home, board: Board, *, made: bool) -> Lab:
    """Return the lab with its stack installed; unless it is there already, by the shortest way."""
    if made:
        return open_lab(home, lab_up.LAB, topology)
    tear_down(home, lab_up.LAB, board)
    lab = make_ready(topology, home, lab_up.LAB, board, fresh=False)
    with deployed_and_saved(lab, home, board):
        return lab


@dataclass(frozen=True)
class Part:
    """Rows that share a lab."""

    names: frozenset[str]
    measured_by: Callable[[Topology, Home, Asked], None]

    def told(self, asked: frozenset[str]) -> str:
        """For people: which of them were asked for."""
        names = self.names & asked
        return ", ".join(sorted(names)) if len(names) < MANY else f"{min(names)} and others"


CHURN = frozenset({churn_steps.NAME, churn_steps.MIRRORED})
REPLICATION = frozenset(replication_rows.NAMES)
PARTS = (
    Part(frozenset({lab_up_warm.NAME}), _warm),
    Part(frozenset({*lab_up.NAMES, failover.NAME}), _plain),
    Part(CHURN | REPLICATION, _beside_peers),
    Part(frozenset({holds.NAME}), _grouped),
    Part(frozenset({overhead.NAME, overhead.MIRRORED}), overhead.overhead),
)
NAMES = frozenset().union(*(part.names for part in PARTS))
