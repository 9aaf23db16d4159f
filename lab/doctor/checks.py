"""Judging what was found: good, worth knowing, or in the way, always with the cure. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lab.topology.facts import PACKAGE_OF_TOOL, Acceleration, Facts, libvirt_lacks, netboot_lacks, tool_lacks

LEAST_DISK = 20 * 2**30
LEAST_MEMORY = 4 * 2**30
LEAST_CORES = 2


class Grade(StrEnum):
    """``warning``: a lab runs, but slower or only a small one."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Check:
    """One finding; ``cure`` is empty when there is nothing to do."""

    subject: str
    grade: Grade
    detail: str
    cure: str = ""


def judge(facts: Facts) -> list[Check]:
    """Return one check for each subject, in the order in which a reader should cure them."""
    return [
        *_tools(facts),
        *_libvirt(facts),
        _acceleration(facts),
        _amount("cores", facts.cores, LEAST_CORES, str(facts.cores)),
        _amount(
            "memory", facts.memory_available_bytes, LEAST_MEMORY, f"{_gib(facts.memory_available_bytes)} available"
        ),
        _amount("disk", facts.disk_free_bytes, LEAST_DISK, f"{_gib(facts.disk_free_bytes)} free in {facts.disk_path}"),
        _rights(facts),
        *(Check("network boot", Grade.WARNING, lack.what, lack.cure) for lack in netboot_lacks(facts)),
    ]


def healthy(checks: list[Check]) -> bool:
    """Whether nothing is in the way of running a lab."""
    return all(check.grade is not Grade.PROBLEM for check in checks)


def _tools(facts: Facts) -> list[Check]:
    lacks = tool_lacks(facts)
    if not lacks:
        return [Check("tools", Grade.OK, f"all {len(PACKAGE_OF_TOOL)} programs are installed")]
    return [Check("tools", Grade.PROBLEM, lack.what, lack.cure) for lack in lacks]


def _libvirt(facts: Facts) -> list[Check]:
    lacks = libvirt_lacks(facts, frozenset(fact.uri for fact in facts.libvirt))
    reached = [fact for fact in facts.libvirt if fact.reachable]
    good = [Check("libvirt", Grade.OK, f"{fact.detail} answers at {fact.uri}") for fact in reached]
    # One is enough for a lab; which one is the choice of its topology.
    grade = Grade.WARNING if reached else Grade.PROBLEM
    return [*good, *(Check("libvirt", grade, lack.what, lack.cure) for lack in lacks)]


def _acceleration(facts: Facts) -> Check:
    found = facts.acceleration
    if found.acceleration is Acceleration.KVM:
        return Check("acceleration", Grade.OK, f"KVM: {found.reason}")
    if not found.proved:
        cure = "nothing: the first image that is built is booted with KVM to find out"
        return Check("acceleration", Grade.WARNING, f"TCG until proved otherwise: {found.reason}", cure)
    return Check("acceleration", Grade.WARNING, f"TCG (slow): {found.reason}", "use a machine with working KVM")


def _amount(subject: str, have: int, least: int, detail: str) -> Check:
    if have >= least:
        return Check(subject, Grade.OK, detail)
    return Check(subject, Grade.WARNING, f"{detail}: little for the embedded topology", f"give it more {subject}")


def _rights(facts: Facts) -> Check:
    if facts.root:
        return Check("rights", Grade.OK, "root: networks are bridges in a namespace of the lab")
    return Check("rights", Grade.WARNING, "not root: networks are slower hubs between QEMU processes", "run as root")


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
