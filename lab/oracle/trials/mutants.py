"""What a broken replication stack would leave on the replica's disks: the negative controls of domain facts 4.5.

Each mutant gets a scene (a world, a moment, the sound disks of that moment) and returns the disks that the bug leaves,
or the claim that it makes. A mutant whose disks are the sound ones changed nothing: it is equivalent and not counted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace

from lab.oracle.checks.instants import Label
from lab.oracle.judge import Claim
from lab.oracle.trials.images import Image, applied_writes, blank_image, image_of
from lab.oracle.trials.simulation import MS, World, Write, continue_world, simulate, slot_of

RECENT = 24
"""Writes before the cut among which a mutant chooses its victim. The very last one is left out: losing that is the
same as cutting the lane one write early, which is what the late cuts measure."""


@dataclass(frozen=True)
class Scene:
    """A sound cut: the moment (true time, ns), what it left, by lane, and the disks that hold it."""

    world: World
    true_ns: int
    epoch: int
    applied: Mapping[int, list[Write]]
    image: Image
    rng: random.Random


@dataclass(frozen=True)
class Mutation:
    """What a mutant made of a scene."""

    image: Image
    claim: Claim = field(default_factory=Claim)


Mutant = Callable[[Scene], Mutation]


def sound_scene(world: World, rng: random.Random) -> Scene:
    """Cut a world at a random moment well after its rings have wrapped."""
    true_ns = rng.randrange(world.end * 2 // 3, world.end - 8 * MS)
    lanes = {lane.index: true_ns for lane in world.group.lanes}
    applied = applied_writes(world, lanes, rng)
    return Scene(world, true_ns, 1, applied, image_of(world.group, applied), rng)


def late_cut(delay_ns: int, *, whole_machine: bool = True) -> Mutant:
    """Cut one machine (or one volume of it) later than the others."""

    def mutant(scene: Scene) -> Mutation:
        victim = scene.rng.choice(scene.world.group.lanes)
        hit = {
            lane.index: scene.true_ns + delay_ns
            for lane in scene.world.group.lanes
            if lane.machine == victim.machine and (whole_machine or lane.volume == victim.volume)
        }
        late = applied_writes(scene.world, hit, scene.rng)
        return Mutation(image_of(scene.world.group, {**scene.applied, **late}))

    return mutant


def dropped(*, log: bool) -> Mutant:
    """Lose one write on the way."""

    def mutant(scene: Scene) -> Mutation:
        lane, index = _victim(scene, lambda write: write.is_log == log)
        writes = scene.applied[lane]
        return _with_lane(scene, lane, writes[:index] + writes[index + 1 :])

    return mutant


def swapped(scene: Scene) -> Mutation:
    """Apply two neighbouring deltas of three writes in the wrong order; the cut falls between them, or after both."""
    lane = scene.rng.choice(scene.world.group.lanes).index
    done = len(scene.applied[lane])
    stream = scene.world.writes[scene.epoch][lane]
    middle = done - scene.rng.choice((0, 3))
    first, second = stream[middle - 3 : middle], stream[middle : middle + 3]
    return _with_lane(scene, lane, [*stream[: middle - 3], *second, *first][:done])


def applied_twice(scene: Scene) -> Mutation:
    """Apply an old overwrite again after the newer ones."""
    lane, index = _victim(scene, lambda write: not write.is_log)
    return _with_lane(scene, lane, [*scene.applied[lane], scene.applied[lane][index]])


def stale_volume(scene: Scene) -> Mutation:
    """Take one volume from an older snapshot."""
    victim = scene.rng.choice(scene.world.group.volumes)
    lanes = {lane.index: scene.true_ns - 40 * MS for lane in scene.world.group.lanes_of(*victim)}
    return Mutation(image_of(scene.world.group, {**scene.applied, **applied_writes(scene.world, lanes, scene.rng)}))


def skipped_volume(scene: Scene) -> Mutation:
    """Never replicate one volume after its first copy."""
    victim = scene.rng.choice(scene.world.group.volumes)
    nothing = {lane.index: list[Write]() for lane in scene.world.group.lanes_of(*victim)}
    return Mutation(image_of(scene.world.group, {**scene.applied, **nothing}))


def swapped_volumes(scene: Scene) -> Mutation:
    """Attach two volumes of a machine in the wrong order: every block says that it belongs elsewhere."""
    image = deepcopy(scene.image)
    machine = scene.rng.randrange(len(scene.world.group.members))
    for lane in scene.world.group.lanes_of(machine):
        blocks = image.lanes[lane.index]
        blocks.log = ["misdirected:volume"] * len(blocks.log)
        blocks.hot = ["misdirected:volume"] * len(blocks.hot)
    return Mutation(image)


def torn(scene: Scene) -> Mutation:
    """Leave half of a block behind that was acknowledged before the cut."""
    lane, index = _victim(scene, lambda write: write.is_log)
    image = deepcopy(scene.image)
    area, slot = image.place(scene.applied[lane][index])
    area[slot] = "torn:0f"
    return Mutation(image)


def misdirected(scene: Scene) -> Mutation:
    """Put a write into another lane's area; its own slot keeps what was there."""
    lane, index = _victim(scene, lambda _: True)
    other = scene.rng.choice([item.index for item in scene.world.group.lanes if item.index != lane])
    writes = scene.applied[lane]
    mutation = _with_lane(scene, lane, writes[:index] + writes[index + 1 :])
    hot = mutation.image.lanes[other].hot
    hot[scene.rng.randrange(len(hot))] = f"misdirected:{lane}"
    return mutation


def leaked(scene: Scene) -> Mutation:
    """Let one write from after the cut through. Not the very next one: that one could have been in flight."""
    lane = scene.rng.choice(scene.world.group.lanes).index
    done = len(scene.applied[lane])
    late = scene.world.writes[scene.epoch][lane][done + scene.rng.randint(1, 5)]
    return _with_lane(scene, lane, [*scene.applied[lane], late])


def spoiled_canary(scene: Scene) -> Mutation:
    """Write to a block that nobody owns."""
    image = deepcopy(scene.image)
    image.canaries.add(scene.rng.choice(scene.world.group.lanes).index)
    return Mutation(image)


def invented(scene: Scene) -> Mutation:
    """Show steps that no writer ever made."""
    lane = scene.rng.choice(scene.world.group.lanes).index
    known = scene.world.writes[scene.epoch][lane]
    last = known[-1]
    more = [
        replace(
            last,
            position=position,
            slot=slot_of(scene.world.group, lane, position, scene.epoch),
            issued=last.acked + position,
            acked=last.acked + position,
        )
        for position in range(last.position + 1, last.position + 5)
    ]
    return _with_lane(scene, lane, [*known, *more])


def wrong_label(error_ns: int) -> Mutant:
    """Say that the point is from another moment."""

    def mutant(scene: Scene) -> Mutation:
        said = scene.true_ns + scene.world.offsets[0] + scene.rng.choice((-1, 1)) * error_ns
        return Mutation(scene.image, Claim(Label(0, said, said, tolerance_ns=MS)))

    return mutant


def went_backwards(scene: Scene) -> Mutation:
    """Publish an older state after a newer one."""
    later = {lane.index: scene.true_ns + 7 * MS for lane in scene.world.group.lanes}
    newer = applied_writes(scene.world, later, scene.rng)
    return Mutation(scene.image, Claim(previous=[writes[-1].seq for _, writes in sorted(newer.items())]))


def failback_scene(seed: int, world: World, rng: random.Random) -> tuple[Scene, Image]:
    """Fail a fresh world over, let it write a second epoch, fail back.

    Returns the sound scene, and the disks of an old primary that had gone on for up to 30 ms and whose blocks were
    only overwritten where the second epoch wrote: the zombies of domain facts 4.7.
    """
    world = simulate(seed, world.group, 160)
    cut = rng.randrange(80 * MS, 130 * MS)
    lanes = [lane.index for lane in world.group.lanes]
    before = applied_writes(world, dict.fromkeys(lanes, cut), rng)
    diverged = applied_writes(world, dict.fromkeys(lanes, cut + rng.randrange(2 * MS, 30 * MS)), rng)
    world.end = 210 * MS
    bases = {lane: (writes[-1].position + 1) // 2 for lane, writes in before.items()}
    continue_world(world, rng, 2, bases, 165 * MS)
    true_ns = rng.randrange(166 * MS, 190 * MS)
    after = applied_writes(world, dict.fromkeys(lanes, true_ns), rng, epoch=2)
    images = []
    for first in (before, diverged):
        image = image_of(world.group, first)
        for writes in after.values():
            image.apply(writes)
        images.append(image)
    return Scene(world, true_ns, 2, after, images[0], rng), images[1]


def is_equivalent(scene: Scene, mutation: Mutation) -> bool:
    """Whether the mutant changed nothing that any check could see.

    Either every block is as it was, or one lane is just as it was before its last write: that is a sound cut of this
    lane a moment earlier, and whether such a moment is told apart is what the late cuts measure.
    """
    if mutation.claim != Claim():
        return False
    changed = [lane for lane, blocks in mutation.image.lanes.items() if blocks != scene.image.lanes[lane]]
    if mutation.image.canaries or len(changed) > 1:
        return False
    if not changed:
        return True
    earlier = blank_image(scene.world.group)
    earlier.apply(scene.applied[changed[0]][:-1])
    return earlier.lanes[changed[0]] == mutation.image.lanes[changed[0]]


def _victim(scene: Scene, wanted: Callable[[Write], bool]) -> tuple[int, int]:
    """Choose one of the recent writes of a lane, but not its last one."""
    lane = scene.rng.choice(scene.world.group.lanes).index
    writes = scene.applied[lane]
    recent = range(max(0, len(writes) - RECENT), len(writes) - 1)
    return lane, scene.rng.choice([index for index in recent if wanted(writes[index])])


def _with_lane(scene: Scene, lane: int, writes: list[Write]) -> Mutation:
    return Mutation(image_of(scene.world.group, {**scene.applied, lane: writes}))


MUTANTS: Mapping[str, Mutant] = {
    "dropped LOG": dropped(log=True),
    "dropped HOT": dropped(log=False),
    "swapped deltas": swapped,
    "delta applied twice": applied_twice,
    "stale volume": stale_volume,
    "skipped volume": skipped_volume,
    "swapped volumes": swapped_volumes,
    "torn block": torn,
    "misdirected write": misdirected,
    "post-cut leak": leaked,
    "spoiled canary": spoiled_canary,
    "invented steps": invented,
    "label wrong by 20 ms": wrong_label(20 * MS),
    "label wrong by 2 s": wrong_label(2000 * MS),
    "went backwards": went_backwards,
}
"""Bugs that must be found every time when they are not equivalent."""

LATE_MS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def late_cuts() -> dict[str, Mutant]:
    """Return the late cuts, whose share of detection depends on the delay."""
    cuts = {f"machine cut {delay:g} ms late": late_cut(int(delay * MS)) for delay in LATE_MS}
    return {**cuts, "volume cut 10 ms late": late_cut(10 * MS, whole_machine=False)}
