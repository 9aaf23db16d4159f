"""Who writes where: the machines, volumes and lanes of a replication group under test, and the native tool's arguments.

A lane is one chain of writes, each issued after the one before was acknowledged (domain facts 4.2). Lanes are numbered
over the whole group: machine by machine, volume by volume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp

MAX_LANES = 256
BLOCK = 4096
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Member:
    """A protected machine: its name, one file for each volume, and where its writer listens for gossip (UDP)."""

    name: str
    volumes: tuple[str, ...]
    address: str = "127.0.0.1"
    port: int = 20005


@dataclass(frozen=True)
class Lane:
    """Where a lane is: number in the group, machine and volume by index, number inside the volume."""

    index: int
    machine: int
    volume: int
    within: int


@dataclass(frozen=True)
class Pace:
    """How a writer writes. Rate in steps a second and lane (0: as fast as the disk allows), ahead in operations."""

    rate: float = 0.0
    ahead: int = 8
    compressible_percent: int = 50
    gossip_us: int = 2000
    token_lane: bool = True


@dataclass(frozen=True)
class Group:
    """One run's writers. ``run`` is 32 hexadecimal digits that no other run has.

    Raises:
        ValueError: more than 256 lanes, a run that is not 16 bytes, an odd number of HOT slots.
    """

    run: str
    members: tuple[Member, ...]
    lanes_per_volume: int = 4
    log_slots: int = 4096
    hot_slots: int = 896
    seed: int = 1

    def __post_init__(self) -> None:
        if len(bytes.fromhex(self.run)) != 16:  # noqa: PLR2004 - bytes of a run
            raise ValueError(f"a run has 16 bytes, not {self.run}")
        if self.hot_slots < 2 or self.hot_slots % 2:  # noqa: PLR2004 - a slot for each half
            raise ValueError(f"a HOT area has two halves, not {self.hot_slots} slots")
        if len(self.lanes) > MAX_LANES:
            raise ValueError(f"a group has {MAX_LANES} lanes at most, not {len(self.lanes)}")

    @cached_property
    def lanes(self) -> tuple[Lane, ...]:
        """Every lane of the group, in order of its number."""
        places = [
            (machine, volume, within)
            for machine, member in enumerate(self.members)
            for volume in range(len(member.volumes))
            for within in range(self.lanes_per_volume)
        ]
        return tuple(Lane(index, *place) for index, place in enumerate(places))

    @cached_property
    def volumes(self) -> tuple[tuple[int, int], ...]:
        """Every volume as (machine, volume), in the order of their lanes."""
        return tuple(dict.fromkeys((lane.machine, lane.volume) for lane in self.lanes))

    @property
    def volume_blocks(self) -> int:
        """Size of each volume's file in blocks: a canary, then a LOG ring, a HOT area and a canary for each lane."""
        return 1 + self.lanes_per_volume * self.stride

    @property
    def stride(self) -> int:
        """Blocks of one lane."""
        return self.log_slots + self.hot_slots + 1

    def lanes_of(self, machine: int, volume: int | None = None) -> list[Lane]:
        """Return the lanes of a machine, or of one of its volumes."""
        return [lane for lane in self.lanes if lane.machine == machine and volume in {None, lane.volume}]

    def hot_slot(self, lane: int, seq: int, epoch: int) -> int:
        """Return the HOT slot that step ``seq`` of a lane overwrites (the seeded schedule).

        Odd epochs use the first half of the area, even ones the second: so what the epoch before left stays visible,
        also what it wrote after it should have ended (domain facts 4.7).
        """
        half = self.hot_slots // 2
        return mix(self.seed ^ mix(lane << 48 ^ seq)) % half + (0 if epoch % 2 else half)

    def log_block(self, lane: Lane, seq: int) -> int:
        """Return the block number of LOG(seq) in the volume's file."""
        return 1 + lane.within * self.stride + (seq - 1) % self.log_slots

    def hot_block(self, lane: Lane, slot: int) -> int:
        """Return the block number of a HOT slot in the volume's file."""
        return 1 + lane.within * self.stride + self.log_slots + slot

    def write_arguments(self, machine: int, pace: Pace, *, epoch: int = 1, resume: bool = False) -> list[str]:
        """Return the arguments of the tool that make it write on a machine.

        With ``resume`` it goes on after the newest complete step that it finds on its volumes, as a recovery would.
        """
        member = self.members[machine]
        options = {
            "epoch": epoch,
            "port": member.port,
            "rate": pace.rate,
            "ahead": pace.ahead,
            "compressible": pace.compressible_percent,
            "gossip-us": pace.gossip_us,
        }
        peers = [(index, peer) for index, peer in enumerate(self.members) if index != machine]
        return [
            *("write", *self._common(machine, 0), *_options(options)),
            *(word for path in member.volumes for word in ("--volume", path)),
            *(word for index, peer in peers for word in ("--peer", f"{index}={peer.address}:{peer.port}")),
            *(["--token-lane"] if pace.token_lane else []),
            *(["--resume"] if resume else []),
        ]

    def scan_arguments(
        self,
        machine: int,
        volume: int,
        path: str,
        extents: Sequence[tuple[int, int]] = (),
        *,
        uncached: bool = True,
    ) -> list[str]:
        """Return the arguments of the tool that make it read a copy of a volume.

        ``extents`` are (offset, length) in bytes: where the volume's file is in the image or device at ``path``.
        With ``uncached`` the page cache is dropped before: what is on the disk counts, not what is in memory.
        """
        places = [word for offset, length in extents for word in ("--extent", f"{offset}:{length}")]
        options = {"volume": path, "volume-index": volume}
        return [
            "scan",
            *self._common(machine, volume),
            *_options(options),
            *places,
            *(["--uncached"] if uncached else []),
        ]

    def _common(self, machine: int, volume: int) -> list[str]:
        options = {
            "run": self.run,
            "vm": machine,
            "machines": len(self.members),
            "first-lane": self.lanes_of(machine, volume)[0].index,
            "lanes-per-volume": self.lanes_per_volume,
            "all-lanes": len(self.lanes),
            "log-slots": self.log_slots,
            "hot-slots": self.hot_slots,
            "seed": self.seed,
        }
        return _options(options)


def mix(value: int) -> int:
    """Return the finaliser of splitmix64, as ``native/hashes.c`` has it."""
    value &= _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


def overlap(steps: int, hot_slots: int) -> float:
    """Return the share of a delta interval's writes that another write of the same interval hides (domain facts 5).

    A step writes one LOG and one HOT block; ``steps`` of them hit half of the ``hot_slots`` slots at random.
    """
    half = hot_slots / 2
    return (steps - half * (1 - exp(-steps / half))) / (2 * steps)


def hot_slots_for(steps: int, share: float = 0.3) -> int:
    """Return how many HOT slots a lane needs so that ``share`` (below 0.5) of an interval's writes are overwrites."""
    low, high = 1, max(steps, 2) * 1000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if overlap(steps, 2 * middle) > share else (low, middle)
    return 2 * low


def _options(values: Mapping[str, object]) -> list[str]:
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]
