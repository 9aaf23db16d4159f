"""A support matrix: what is supported for one target, and what of a machine is not (seed L38-L40, L126-L127)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.replication.support.facts import SystemFacts

FOLDER = Path(__file__).parent
SECONDARY_SITE = "secondary-site"
AZURE = "azure"
UNSUPPORTED_SYSTEM = "unsupported-system"
"""The type of the error that names what was found and what is supported."""
GIB = 1 << 30
_NUMBER = re.compile(r"\d+")


class UnknownMatrix(LookupError):
    """There is no support matrix of that name; the message lists those that there are."""


@dataclass(frozen=True)
class Matrix:
    """What the reference stack protects towards one target. ``systems``: versions by ``ID`` of os-release(5)."""

    target: str
    systems: Mapping[str, tuple[str, ...]]
    least_kernel: str
    architectures: tuple[str, ...]
    firmware: tuple[str, ...]
    most_disks: int
    most_disk_bytes: int

    def __str__(self) -> str:
        """Return what is supported, for messages."""
        systems = ", ".join(f"{name} {version}" for name, known in self.systems.items() for version in known)
        hardware = f"{' or '.join(self.architectures)}, {' or '.join(self.firmware)}"
        return f"{systems} with kernel {self.least_kernel} or later, {hardware}"

    def refusal_of(self, facts: SystemFacts) -> str | None:
        """Return why a machine with these facts is not protected, or None: what was found, what is supported."""
        problems = list(self._problems(facts))
        if not problems:
            return None
        return f"{'; '.join(problems)} (found: {facts}; supported for target {self.target}: {self})"

    def refusal_of_disks(self, sizes: Sequence[int]) -> str | None:
        """Return why a machine with disks of these sizes (bytes) is not protected, or None."""
        if len(sizes) > self.most_disks:
            return f"{len(sizes)} disks, at most {self.most_disks} are supported for target {self.target}"
        largest = max(sizes, default=0)
        if largest > self.most_disk_bytes:
            limit = f"at most {self.most_disk_bytes // GIB} GiB are supported for target {self.target}"
            return f"a disk of {largest / GIB:.1f} GiB, {limit}"
        return None

    def _problems(self, facts: SystemFacts) -> Iterator[str]:
        versions = self.systems.get(facts.system)
        if versions is None:
            yield f"system {facts.system!r} is not supported"
        elif facts.version not in versions:
            yield f"version {facts.version!r} of {facts.system} is not supported"
        if _numbers(facts.kernel) < _numbers(self.least_kernel):
            yield f"kernel {facts.kernel!r} is older than {self.least_kernel}"
        if facts.architecture not in self.architectures:
            yield f"architecture {facts.architecture!r} is not supported"
        if facts.firmware not in self.firmware:
            yield f"firmware {facts.firmware!r} is not supported"


@cache
def load_matrix(target: str) -> Matrix:
    """Return the matrix of a target. Raises UnknownMatrix."""
    known = sorted(path.stem for path in FOLDER.glob("*.json"))
    if target not in known:
        raise UnknownMatrix(f"no support matrix {target!r}; there are {', '.join(known)}")
    value = json.loads((FOLDER / f"{target}.json").read_text(encoding="utf-8"))
    return Matrix(
        target=value["target"],
        systems={system["id"]: tuple(system["versions"]) for system in value["systems"]},
        least_kernel=value["least_kernel"],
        architectures=tuple(value["architectures"]),
        firmware=tuple(value["firmware"]),
        most_disks=int(value["most_disks"]),
        most_disk_bytes=int(value["most_disk_gib"]) * GIB,
    )


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: ``6.1.0-13-amd64`` is (6, 1, 0); what has none is oldest."""
    plain = re.match(r"[\d.]*", version)
    return tuple(int(number) for number in _NUMBER.findall(plain.group() if plain else ""))
