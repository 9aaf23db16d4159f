"""Detection power of the checker: ``python -m lab.oracle.detection [--trials N] [--json]`` (domain facts 4.5).

Sound cuts must give no alarm; mutants must be found unless their disks are the sound ones. Status 1 when not so.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from lab.oracle.judge import judge
from lab.oracle.trials.images import copy_of
from lab.oracle.trials.mutants import (
    MUTANTS,
    Mutant,
    Mutation,
    Scene,
    failback_scene,
    is_equivalent,
    late_cuts,
    sound_scene,
)
from lab.oracle.trials.simulation import World, simulate, simulated_group

CUTS_PER_WORLD = 200
WORLD_MS = 240


@dataclass
class Row:
    """What became of one kind of mutant. ``required``: every one that is not equivalent has to be found."""

    name: str
    required: bool
    trials: int = 0
    equivalent: int = 0
    found: int = 0
    rules: Counter[str] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        """Found among those that are not equivalent; 1 when there are none."""
        real = self.trials - self.equivalent
        return self.found / real if real else 1.0

    @property
    def survived(self) -> bool:
        """Whether one got away that must not."""
        return self.required and self.found < self.trials - self.equivalent


@dataclass(frozen=True)
class Detection:
    """The whole table."""

    sound_cuts: int
    false_alarms: int
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether there was no false alarm and no survivor."""
        return self.false_alarms == 0 and not any(row.survived for row in self.rows)

    def as_json(self) -> str:
        """Return the table as a JSON document."""
        rows = [vars(row) | {"share": row.share, "survived": row.survived} for row in self.rows]
        document = {"sound_cuts": self.sound_cuts, "false_alarms": self.false_alarms, "passed": self.passed}
        return json.dumps(document | {"mutants": rows}, indent=1)

    def as_text(self) -> str:
        """Return the table as lines of text."""
        lines = [f"sound cuts {self.sound_cuts}, false alarms {self.false_alarms}", ""]
        lines.append(f"{'mutant':26} {'trials':>6} {'equal':>6} {'found':>6} {'share':>7}  broken rules")
        for row in self.rows:
            rules = ", ".join(f"{rule} {count}" for rule, count in row.rules.most_common())
            lines.append(
                f"{row.name:26} {row.trials:6} {row.equivalent:6} {row.found:6} {row.share:7.1%}"
                f"  {rules}{'  SURVIVED' if row.survived else ''}"
            )
        return "\n".join(lines)


def count_false_alarms(cuts: int, seed: int = 0) -> int:
    """Judge sound cuts of simulated worlds, and return how many were not found sound."""
    return sum(not judge(copy_of(scene.image), world.group, world).sound for world, scene in _scenes(cuts, seed))


def measure_mutant(name: str, mutant: Mutant, trials: int, *, required: bool, seed: int = 1) -> Row:
    """Let the checker judge what a mutant makes of sound cuts."""
    row = Row(name, required)
    for world, scene in _scenes(trials, seed):
        mutation = mutant(scene)
        _count(row, world, mutation, equivalent=is_equivalent(scene, mutation))
    return row


def measure_zombies(trials: int, seed: int = 2) -> tuple[Row, int]:
    """Let the checker judge failbacks that leave writes of the old primary; also count alarms on sound failbacks."""
    row, alarms = Row("zombie writes", required=True), 0
    rng = random.Random(seed)  # noqa: S311 - simulations have to be repeatable
    world = simulate(seed, simulated_group(), 1)
    for trial in range(trials):
        scene, zombies = failback_scene(seed + trial, world, rng)
        alarms += not judge(copy_of(scene.image), scene.world.group, scene.world).sound
        _count(row, scene.world, Mutation(zombies), equivalent=zombies.same_as(scene.image))
    return row, alarms


def measure(trials: int) -> Detection:
    """Measure everything: ``trials`` for each mutant, ten times as many sound cuts, a fifth as many failbacks."""
    failbacks = max(1, trials // 5)
    rows = []
    for required, mutants in ((True, MUTANTS), (False, late_cuts())):
        for name, mutant in mutants.items():
            rows.append(measure_mutant(name, mutant, trials, required=required))
    zombies, alarms = measure_zombies(failbacks)
    rows.insert(len(MUTANTS), zombies)
    alarms += count_false_alarms(10 * trials)
    return Detection(10 * trials + failbacks, alarms, tuple(rows))


def _scenes(count: int, seed: int) -> Iterator[tuple[World, Scene]]:
    rng = random.Random(seed)  # noqa: S311 - simulations have to be repeatable
    group = simulated_group()
    for index in range(count):
        if index % CUTS_PER_WORLD == 0:
            world = simulate(seed * 1_000_003 + index, group, WORLD_MS)
        yield world, sound_scene(world, rng)


def _count(row: Row, world: World, mutation: Mutation, *, equivalent: bool) -> None:
    row.trials += 1
    if equivalent:
        row.equivalent += 1
        return
    verdict = judge(copy_of(mutation.image), world.group, world, mutation.claim)
    row.found += not verdict.sound
    row.rules.update(rule.value for rule in verdict.rules)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    detection = measure(given.trials)
    sys.stdout.write((detection.as_json() if given.json else detection.as_text()) + "\n")
    return 0 if detection.passed else 1


if __name__ == "__main__":
    sys.exit(main())
