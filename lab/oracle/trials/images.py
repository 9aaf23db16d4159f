"""Simulated disks: what a cut leaves, folded from single writes; and the copy that a scan of them would give."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lab.oracle.group import Group
from lab.oracle.scan import ABSENT, Copy, Damage, LaneCopy, NewestHot, Run
from lab.oracle.trials.simulation import World, Write

LOG_KIND = 1


@dataclass
class LaneImage:
    """The blocks of one lane: the write in each slot, None for a blank, a text for damage (``scan.Damage.what``)."""

    log: list[Write | str | None]
    hot: list[Write | str | None]

    @classmethod
    def blank(cls, group: Group) -> LaneImage:
        """Return a lane that nobody wrote to yet."""
        return cls([None] * group.log_slots, [None] * group.hot_slots)


@dataclass
class Image:
    """The blocks of a group's lanes, and canaries (by lane) that something wrote to."""

    group: Group
    lanes: dict[int, LaneImage] = field(default_factory=dict)
    canaries: set[int] = field(default_factory=set)

    def apply(self, writes: Iterable[Write]) -> None:
        """Overwrite blocks in order."""
        for write in writes:
            lane = self.lanes[write.lane]
            (lane.log if write.position % 2 else lane.hot)[write.slot] = write

    def place(self, write: Write) -> tuple[list[Write | str | None], int]:
        """Return the area and the slot that a write goes to."""
        lane = self.lanes[write.lane]
        return (lane.log if write.is_log else lane.hot), write.slot

    def same_as(self, other: Image) -> bool:
        """Whether every block holds the same."""
        return self.lanes == other.lanes and self.canaries == other.canaries


def blank_image(group: Group) -> Image:
    """Return the disks as they are before the first step."""
    return Image(group, {lane.index: LaneImage.blank(group) for lane in group.lanes})


def applied_writes(world: World, at: Mapping[int, int], rng: random.Random, epoch: int = 1) -> dict[int, list[Write]]:
    """Return the writes of an epoch that are on the disks after cuts at a moment for each lane (true time).

    Of each lane everything acknowledged, and the write in flight or not.
    """
    applied = {}
    for lane, true_ns in at.items():
        done, in_flight = world.held(lane, true_ns, epoch)
        applied[lane] = world.writes[epoch][lane][: done + (in_flight and rng.random() < 0.5)]  # noqa: PLR2004 - a coin
    return applied


def image_of(group: Group, applied: Mapping[int, list[Write]]) -> Image:
    """Return the disks that some writes leave."""
    image = blank_image(group)
    for writes in applied.values():
        image.apply(writes)
    return image


def copy_of(image: Image) -> Copy:
    """Return what the scanner would say about an image."""
    copy = Copy()
    for lane, blocks in image.lanes.items():
        place = image.group.lanes[lane]
        base = image.group.log_block(place, 1)
        copy.lanes[lane] = LaneCopy(_runs(blocks), *_hot(blocks), blocks.log.count(None))
        copy.damage += [
            Damage(block, place.machine, place.volume, lane, base + index, 1)
            for index, block in enumerate([*blocks.log, *blocks.hot])
            if isinstance(block, str)
        ]
        if lane in image.canaries:
            first = place.within * image.group.stride + image.group.stride
            copy.damage.append(Damage("garbage", place.machine, place.volume, lane, first, 1))
    return copy


def _runs(blocks: LaneImage) -> list[Run]:
    runs: list[list[Write]] = []
    before: Write | str | None = None
    for block in blocks.log:
        if isinstance(block, Write):
            follows = isinstance(before, Write) and before.seq + 1 == block.seq and before.epoch == block.epoch
            if follows:
                runs[-1].append(block)
            else:
                runs.append([block])
        before = block
    return [Run(run[-1].epoch, run[0].seq, run[-1].seq, LOG_KIND, run[-1].issued, run[-1].clock) for run in runs]


def _hot(blocks: LaneImage) -> tuple[array[int], array[int], NewestHot | None]:
    writes = [block for block in blocks.hot if isinstance(block, Write)]
    newest = max(writes, key=lambda write: (write.epoch, write.seq), default=None)
    seqs = array("q", (0 if block is None else ABSENT if isinstance(block, str) else block.seq for block in blocks.hot))
    epochs = array("q", (block.epoch if isinstance(block, Write) else 0 for block in blocks.hot))
    return seqs, epochs, NewestHot(newest.epoch, newest.seq, newest.issued, newest.clock) if newest else None
