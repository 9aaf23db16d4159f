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
HYPER_V_HOST, HYPER_V_GUEST = "hyper-v-host", "hyper-v-guest"
"""What a provider runs on and what may run inside: guests have to be in the matrix of their target too (seed L39)."""
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
        return self._told(self._problems(facts), str(facts))

    def refusal_of_guest_system(self, system: str, version: str) -> str | None:
        """Return why a machine with this system is not protected when nothing is installed in it, or None."""
        return self._told(self._system_problems(system, version), f"{system} {version}")

    def refusal_of_hardware(self, architecture: str, firmware: str) -> str | None:
        """Return why a machine of which only the hardware is known is not protected, or None."""
        return self._told(self._hardware_problems(architecture, firmware), f"{architecture}, {firmware}")

    def refusal_of_disks(self, sizes: Sequence[int]) -> str | None:
        """Return why a machine with disks of these sizes (bytes) is not protected, or None."""
        if len(sizes) > self.most_disks:
            return f"{len(sizes)} disks, at most {self.most_disks} are supported for target {self.target}"
        largest = max(sizes, default=0)
        if largest > self.most_disk_bytes:
            limit = f"at most {self.most_disk_bytes // GIB} GiB are supported for target {self.target}"
            return f"a disk of {largest / GIB:.1f} GiB, {limit}"
        return None

    def _told(self, problems: Iterator[str], found: str) -> str | None:
        told = "; ".join(problems)
        return f"{told} (found: {found}; supported for target {self.target}: {self})" if told else None

    def _problems(self, facts: SystemFacts) -> Iterator[str]:
        yield from self._system_problems(facts.system, facts.version)
        if _numbers(facts.kernel) < _numbers(self.least_kernel):
            yield f"kernel {facts.kernel!r} is older than {self.least_kernel}"
        yield from self._hardware_problems(facts.architecture, facts.firmware)

    def _system_problems(self, system: str, version: str) -> Iterator[str]:
        versions = self.systems.get(system)
        if versions is None:
            yield f"system {system!r} is not supported"
        elif version not in versions:
            yield f"version {version!r} of {system} is not supported"

    def _hardware_problems(self, architecture: str, firmware: str) -> Iterator[str]:
        if architecture not in self.architectures:
            yield f"architecture {architecture!r} is not supported"
        if firmware not in self.firmware:
            yield f"firmware {firmware!r} is not supported"


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
