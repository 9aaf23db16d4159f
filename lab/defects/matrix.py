"""From what the probes said to the matrix, and to the rules that nothing proves. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.defects.model import Defect
from lab.defects.probing import Probed
from lab.defects.unproven import why_unproven

FORMAT = 1


@dataclass(frozen=True)
class Judged:
    """One defect: what noticed it, and which of the rules that it breaks were among the rules of those tests.

    ``ran``: it was put in and probed; one that needs machines was not, unless a lab ran.
    """

    defect: Defect
    ran: bool
    caught_by: tuple[str, ...]
    equivalent: bool
    killed: tuple[str, ...]
    why: str
    seconds: float = 0.0

    @property
    def survived(self) -> bool:
        """Whether nothing noticed it although it can be noticed."""
        return self.ran and not self.caught_by and not self.equivalent

    def to_json(self) -> dict[str, Any]:
        """Return the row for programs."""
        return {
            "name": self.defect.name,
            "part": self.defect.part.value,
            "what": self.defect.what,
            "requirements": list(self.defect.requirements),
            "needs_machines": self.defect.needs_machines,
            "ran": self.ran,
            "caught": bool(self.caught_by),
            "by": list(self.caught_by),
            "equivalent": self.equivalent,
            "proves": list(self.killed),
            "why": self.why,
            "seconds": round(self.seconds, 1),
        }


@dataclass(frozen=True)
class Matrix:
    """The result: false alarms of the clean runs, a row for each defect, the tests of the columns."""

    clean_runs: int
    false_alarms: Mapping[str, str]
    rows: tuple[Judged, ...]
    tests: tuple[str, ...]
    proven: Mapping[str, tuple[str, ...]]
    """Rule to the defects that its tests have noticed."""
    cpu_seconds: float

    @property
    def passed(self) -> bool:
        """Whether the clean stack gave no alarm and no defect survived."""
        return not self.false_alarms and not any(row.survived for row in self.rows)

    def unproven(self, requirements: Iterable[str]) -> list[str]:
        """Return the rules of which no test ever failed because a defect broke them."""
        return [name for name in requirements if name not in self.proven]

    def to_json(self, requirements: Mapping[str, str], stack_digest: str, how: str) -> dict[str, Any]:
        """Return the document that certificates are made with.

        Args:
            requirements: all ids, each with why no defect can break its rule, or nothing.
            stack_digest: the build.
            how: what had to notice the defects.
        """
        rows = [row.to_json() for row in self.rows]
        return {
            "format": FORMAT,
            "stack": stack_digest,
            "how": how,
            "clean": {"runs": self.clean_runs, "false_alarms": dict(self.false_alarms)},
            "defects": rows,
            "tests": list(self.tests),
            "proven": {name: list(found) for name, found in sorted(self.proven.items())},
            "unproven": self.unproven(requirements),
            "why_unproven": why_unproven(self.unproven(requirements), rows, requirements),
            "passed": self.passed,
            "cpu_seconds": round(self.cpu_seconds, 1),
        }


def judge(defects: Sequence[Defect], probed: Sequence[Probed]) -> Matrix:
    """Return the matrix of what was probed; defects of which there is nothing were not run.

    A test that gave an alarm on the clean stack notices nothing: it fails anyway.
    """
    clean = [item for item in probed if item.defect is None]
    false_alarms = {test: item.results[test] for item in clean for test in item.noticed_by}
    by_name = {item.defect: item for item in probed if item.defect is not None}
    rows = tuple(_judged(defect, by_name.get(defect.name), false_alarms) for defect in defects)
    proven: dict[str, tuple[str, ...]] = {}
    for row in rows:
        for name in row.killed:
            proven[name] = (*proven.get(name, ()), row.defect.name)
    return Matrix(
        clean_runs=len(clean),
        false_alarms=false_alarms,
        rows=rows,
        tests=tuple(dict.fromkeys(test for item in probed for test in item.results)),
        proven=proven,
        cpu_seconds=sum(item.cpu_seconds for item in probed),
    )


def _judged(defect: Defect, probed: Probed | None, false_alarms: Collection[str]) -> Judged:
    if probed is None:
        return Judged(defect, ran=False, caught_by=(), equivalent=False, killed=(), why="not run")
    caught = tuple(test for test in probed.noticed_by if test not in false_alarms)
    carried = {name for test in caught for name in probed.requirements.get(test, ())}
    killed = tuple(name for name in defect.requirements if name in carried)
    why = probed.results[caught[0]] if caught else ""
    equivalent, seconds = probed.equivalent, probed.seconds
    return Judged(defect, ran=True, caught_by=caught, equivalent=equivalent, killed=killed, why=why, seconds=seconds)
