"""Rows of initial replication: for each data set the peers and the tightest stage. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from lab.bench.fill import SETS
from lab.bench.rows import Row, context, faster_than_peer, share_of_limit

NAME = "initial-replication"
PLAIN, TUNNELLED, RELAYED, LIMIT, UNTIL_PROTECTED = "drbd", "drbd-wireguard", "relay", "limit", "until-protected"
ENCRYPTED = ("dd", RELAYED, "rsync", TUNNELLED)
WHAT = (LIMIT, *ENCRYPTED, PLAIN)
"""What a first copy is compared with, in the order in which it is measured."""
NAMES = tuple(f"{NAME}-{data}-{what}" for data in SETS for what in WHAT)
GROUPS = (NAME, *(f"{NAME}-{data}" for data in SETS))
"""What several rows can be asked for by."""
LIMIT_GOAL = 0.8
PLAIN_GOALS = {"zeros": 1.0}
"""Where there is something to gain from what DRBD does not do."""


@dataclass
class Turn:
    """Seconds of one turn: ours, and what was measured after it."""

    copied: float
    """Until the stack says that everything is copied."""
    protected: float
    """Until there is a first recovery point."""
    peers: dict[str, float] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)


def wanted(names: frozenset[str]) -> dict[str, list[str]]:
    """Return what is to be measured, by data set."""
    found = {data: [what for what in WHAT if f"{NAME}-{data}-{what}" in names] for data in SETS}
    return {data: what for data, what in found.items() if what}


def rows(data: str, turns: Sequence[Turn]) -> list[Row]:
    """Return the rows of a data set, as far as it was measured."""
    limits = [max(turn.stages.values()) for turn in turns if turn.stages]
    limit = median(limits) if limits else None
    encrypted = [replace(row, limit=limit) for what in ENCRYPTED for row in _against_peer(data, what, turns)]
    protected = context(f"{NAME}-{data}-{UNTIL_PROTECTED}", "s", [(turn.protected, turn.copied) for turn in turns])
    return [*encrypted, *_against_plain(data, turns), *_against_stages(data, turns), protected]


def _pairs(what: str, turns: Sequence[Turn]) -> list[tuple[float, float]]:
    return [(turn.copied, turn.peers[what]) for turn in turns if what in turn.peers]


def _against_peer(data: str, what: str, turns: Sequence[Turn]) -> list[Row]:
    pairs = _pairs(what, turns)
    return [faster_than_peer(f"{NAME}-{data}-{what}", "s", pairs)] if pairs else []


def _against_plain(data: str, turns: Sequence[Turn]) -> list[Row]:
    pairs = _pairs(PLAIN, turns)
    note = "DRBD 8.4 neither encrypts nor compresses"
    return [share_of_limit(f"{NAME}-{data}-{PLAIN}", "s", pairs, PLAIN_GOALS.get(data), note)] if pairs else []


def _against_stages(data: str, turns: Sequence[Turn]) -> list[Row]:
    pairs = [(turn.copied, max(turn.stages.values())) for turn in turns if turn.stages]
    if not pairs:
        return []
    note = _told(next(turn.stages for turn in reversed(turns) if turn.stages))
    return [share_of_limit(f"{NAME}-{data}-{LIMIT}", "s", pairs, LIMIT_GOAL, note)]


def _told(stages: Mapping[str, float]) -> str:
    """Return the stages for people, the tightest first."""
    longest_first = sorted(stages.items(), key=lambda stage: -stage[1])
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in longest_first)
