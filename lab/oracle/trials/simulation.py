"""Simulated writers, in one process and in true time: what they write, what they know of each other, what they tell.

The same rules as the native writer's: LOG(k), acknowledged, HOT(k), acknowledged, step k + 1; vector clocks by gossip.
Every machine has its own clock, apart from true time by a constant; exchanges of times carry the network's delays.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.oracle.checks.epochs import Epochs
from lab.oracle.checks.facts import LaneFacts
from lab.oracle.checks.frontier import Frontier
from lab.oracle.clocks import Clocks
from lab.oracle.group import Group, Member
from lab.oracle.history import EpochStart, Exchange

MS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """One write of a lane; times by the machine's clock in ns. Position: LOG(k) is 2k - 1, HOT(k) is 2k."""

    lane: int
    epoch: int
    position: int
    issued: int
    acked: int
    clock: tuple[int, ...]
    slot: int
    """In the lane's LOG ring or HOT area."""

    @property
    def seq(self) -> int:
        """The step's number."""
        return (self.position + 1) // 2

    @property
    def is_log(self) -> bool:
        """Whether this is the step's first write."""
        return self.position % 2 == 1


@dataclass(frozen=True)
class Disks:
    """How long simulated things take, in ns (means; writes are log-normal, thinking and gossip vary)."""

    write: int = MS // 2
    think: int = MS
    gossip: int = 2 * MS
    network: int = MS // 5
    clock_spread: int = 500 * MS


@dataclass
class World:
    """A finished simulation: the writes of each lane by epoch, clocks, and when it began and ended (true time, ns)."""

    group: Group
    offsets: tuple[int, ...]
    """Each machine's clock minus true time."""
    end: int
    writes: dict[int, dict[int, list[Write]]] = field(default_factory=dict)
    """By epoch, then lane."""
    bases: dict[int, dict[int, int]] = field(default_factory=dict)
    """By epoch, then lane: the step after which it goes on."""
    exchanges: list[Exchange] = field(default_factory=list)
    _clocks: Clocks | None = None

    def held(self, lane: int, true_ns: int, epoch: int) -> tuple[int, bool]:
        """Return how many writes of an epoch were acknowledged at a moment, and whether another was in flight."""
        writes = self.writes[epoch][lane]
        here = true_ns + self.offsets[self.group.lanes[lane].machine]
        done = bisect_right(writes, here, key=lambda write: write.acked)
        return done, done < len(writes) and writes[done].issued <= here

    def epochs(self) -> Epochs:
        """Return when each lane began which epoch."""
        starts = (
            EpochStart(lane, epoch, base, int(base > 0))
            for epoch, lanes in self.bases.items()
            for lane, base in lanes.items()
        )
        return Epochs.of_events(starts)

    def clocks(self) -> Clocks:
        """Return how the machines' clocks compare, from the exchanges."""
        if self._clocks is None:
            self._clocks = Clocks.of_events(self.exchanges)
        return self._clocks

    def facts(
        self, frontiers: Mapping[int, Frontier], epoch: int, failed_at: Mapping[int, int] | None
    ) -> dict[int, LaneFacts]:
        """Return what happened around the frontiers."""
        return {lane: self._fact(frontier, epoch, failed_at or {}) for lane, frontier in frontiers.items()}

    def _fact(self, frontier: Frontier, epoch: int, failed_at: Mapping[int, int]) -> LaneFacts:
        fact = LaneFacts(frontier.lane, frontier.position)
        limit = failed_at.get(self.group.lanes[frontier.lane].machine)
        writes = self.writes[epoch][frontier.lane]
        fact.known_position = writes[-1].position if writes else 2 * self.bases[epoch][frontier.lane]
        acked = len(writes) if limit is None else bisect_right(writes, limit, key=lambda write: write.acked)
        if acked:
            fact.acked_position, fact.last_acked = writes[acked - 1].position, writes[acked - 1].acked
        index = frontier.position - (writes[0].position if writes else 0)
        fact.next_acked = writes[index + 1].acked if -1 <= index < len(writes) - 1 else None
        fact.present_acked = writes[index].acked if 0 <= index < len(writes) else None
        return fact


def simulate(seed: int, group: Group, milliseconds: int, disks: Disks | None = None) -> World:
    """Run a group's writers for a while."""
    rng = random.Random(seed)  # noqa: S311 - simulations have to be repeatable
    spread = (disks or Disks()).clock_spread
    offsets = tuple(rng.randint(-spread, spread) + 10**15 for _ in group.members)
    world = World(group, offsets, milliseconds * MS)
    continue_world(world, rng, 1, dict.fromkeys(range(len(group.lanes)), 0), 0, disks=disks)
    return world


def continue_world(
    world: World, rng: random.Random, epoch: int, bases: dict[int, int], begin: int, *, disks: Disks | None = None
) -> None:
    """Add an epoch to a world: every lane goes on after its base, from the true time ``begin`` until its end."""
    world.bases[epoch] = bases
    world.writes[epoch] = {lane: [] for lane in bases}
    _Run(world, rng, disks or Disks(), epoch).run(begin)


class _Run:
    """One epoch of a simulation: a queue of (true time, tie, what, whom)."""

    def __init__(self, world: World, rng: random.Random, disks: Disks, epoch: int) -> None:
        self._world, self._rng, self._disks, self._epoch = world, rng, disks, epoch
        self._queue: list[tuple[int, int, str, int, tuple[int, ...]]] = []
        bases = world.bases[epoch]
        self._known = [[bases[lane] for lane in sorted(bases)] for _ in world.group.members]
        self._count = 0

    def run(self, begin: int) -> None:
        """Let everything happen until the world ends."""
        for lane in self._world.bases[self._epoch]:
            self._later(begin + self._rng.randrange(MS), "issue", lane)
        for machine in range(len(self._world.group.members)):
            self._later(begin + self._rng.randrange(self._disks.gossip), "send", machine)
        actions = {"issue": self._issue, "ack": self._ack, "send": self._send, "arrive": self._arrive}
        while self._queue and self._queue[0][0] <= self._world.end:
            now, _, what, whom, known = heapq.heappop(self._queue)
            actions[what](now, whom, known)

    def _later(self, at: int, what: str, whom: int, known: tuple[int, ...] = ()) -> None:
        self._count += 1
        heapq.heappush(self._queue, (at, self._count, what, whom, known))

    def _issue(self, now: int, lane: int, _: tuple[int, ...]) -> None:
        writes, base = self._world.writes[self._epoch][lane], self._world.bases[self._epoch][lane]
        first = 2 * base if base else 1  # a recovery begins with HOT(base)
        machine = self._world.group.lanes[lane].machine
        acked = now + int(self._rng.lognormvariate(0, 0.5) * self._disks.write)
        offset = self._world.offsets[machine]
        position = first + len(writes)
        known = tuple(self._known[machine])
        # A recovery writes HOT(base) of the epoch before again, where that epoch had it.
        step_epoch = self._epoch - (base > 0 and position == 2 * base)
        slot = slot_of(self._world.group, lane, position, step_epoch)
        writes.append(Write(lane, self._epoch, position, now + offset, acked + offset, known, slot))
        self._later(acked, "ack", lane)

    def _ack(self, now: int, lane: int, _: tuple[int, ...]) -> None:
        write = self._world.writes[self._epoch][lane][-1]
        if write.is_log:
            self._known[self._world.group.lanes[lane].machine][lane] = write.seq
        pause = MS // 100 if write.is_log else int(self._rng.expovariate(1 / self._disks.think))
        self._later(now + pause, "issue", lane)

    def _send(self, now: int, machine: int, _: tuple[int, ...]) -> None:
        others = [other for other in range(len(self._known)) if other != machine]
        if others:
            there = self._rng.choice(others)
            there_at, back_at = self._travel(now), self._travel(0)
            self._later(there_at, "arrive", there, tuple(self._known[machine]))
            self._exchange(machine, there, now, there_at, there_at + back_at)
        self._later(now + int(self._disks.gossip * self._rng.uniform(0.5, 1.0)), "send", machine)

    def _arrive(self, _: int, machine: int, known: tuple[int, ...]) -> None:
        self._known[machine] = [max(pair) for pair in zip(self._known[machine], known, strict=True)]

    def _travel(self, begin: int) -> int:
        return begin + int(self._disks.network * self._rng.uniform(0.5, 1.5))

    def _exchange(self, machine: int, peer: int, sent: int, arrived: int, back: int) -> None:
        mine, theirs = self._world.offsets[machine], self._world.offsets[peer]
        times = (sent + mine, arrived + theirs, arrived + theirs, back + mine)
        self._world.exchanges.append(Exchange(machine, peer, *times))


def slot_of(group: Group, lane: int, position: int, epoch: int) -> int:
    """Return the slot of a lane's write in its LOG ring (odd positions) or its HOT area (even ones)."""
    seq = (position + 1) // 2
    return (seq - 1) % group.log_slots if position % 2 else group.hot_slot(lane, seq, epoch)


def simulated_group(machines: int = 3, volumes: int = 2, lanes_per_volume: int = 2) -> Group:
    """Return a small group whose rings wrap within a fraction of a simulated second."""
    paths = tuple(f"/volume{index}" for index in range(volumes))
    members = tuple(Member(f"vm{index}", paths) for index in range(machines))
    return Group("5d" * 16, members, lanes_per_volume, log_slots=48, hot_slots=16)
