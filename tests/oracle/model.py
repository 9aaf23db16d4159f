"""Slow, obviously correct models of what the checker decides fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lab.oracle.trials.images import LaneImage, blank_image
from lab.oracle.trials.simulation import World, Write

Present = Mapping[int, Sequence[Write]]


def is_some_prefix(world: World, lane: int, found: LaneImage) -> bool:
    """Whether a lane's blocks are those after some number of its writes: try every number."""
    image = blank_image(world.group)
    if image.lanes[lane] == found:
        return True
    for write in world.writes[1][lane]:
        image.apply([write])
        if image.lanes[lane] == found:
            return True
    return False


def predecessors(world: World) -> dict[Write, set[Write]]:
    """The full transitive closure of "was acknowledged, and known to be, before": every write's whole past."""
    logs = {(write.lane, write.seq): write for writes in world.writes[1].values() for write in writes if write.is_log}
    direct: dict[Write, list[Write]] = {}
    for writes in world.writes[1].values():
        for index, write in enumerate(writes):
            before = [writes[index - 1]] if index else []
            before += [logs[lane, seq] for lane, seq in enumerate(write.clock) if seq]
            direct[write] = before
    past: dict[Write, set[Write]] = {}
    for write in sorted(direct, key=lambda item: item.issued):
        past[write] = set(direct[write]).union(*(past[before] for before in direct[write]))
    return past


def is_causal(past: Mapping[Write, set[Write]], present: Present) -> bool:
    """Whether the past of every present write is present."""
    there = {write for writes in present.values() for write in writes}
    return all(past[write] <= there for write in there)


def has_one_instant(world: World, present: Present) -> bool:
    """Whether there is a moment before which nothing absent was acknowledged and nothing present issued after: try all.

    The world's machines have to share a clock.
    """
    everything = [write for writes in world.writes[1].values() for write in writes]
    there = {write for writes in present.values() for write in writes}
    moments = {write.issued for write in everything} | {write.acked for write in everything}
    return any(
        all(write in there or write.acked >= moment for write in everything)
        and all(write.issued <= moment for write in there)
        for moment in moments
    )
