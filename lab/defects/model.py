"""A defect as a value: which lines of which module it changes, and which rules it breaks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

STACK = "lab.replication"


class Part(StrEnum):
    """The part of the stack that a defect is in."""

    MOBILITY = "mobility"
    GROUP = "group"
    PROCESS_SERVER = "process-server"
    MASTER_TARGET = "master-target"
    WIRE = "wire"
    CONFIGURATION_SERVER = "configuration-server"
    AZURE = "azure"
    HOSTS = "hosts"
    PROVIDER = "provider"
    SURROUNDINGS = "surroundings"


class PatchDoesNotApply(ValueError):
    """The stack has changed, so that a defect no longer fits; it has to be written anew."""


@dataclass(frozen=True)
class Edit:
    """In ``module`` (below the stack's package) the text ``old``, which is there once, becomes ``new``."""

    module: str
    old: str
    new: str

    @property
    def full_module(self) -> str:
        """The module's whole name."""
        return f"{STACK}.{self.module}"

    def applied(self, source: str) -> str:
        """Return the changed source. Raises PatchDoesNotApply."""
        count = source.count(self.old)
        if count != 1:
            raise PatchDoesNotApply(f"{self.full_module} has {count} times: {self.old!r}")
        return source.replace(self.old, self.new)


@dataclass(frozen=True)
class Defect:
    """Something that is wrong on purpose. ``requirements``: ids of rules that it breaks.

    ``needs_machines``: only a running lab can show it. ``on_disks``: all that it could do is leave other content on
    replica disks, so the oracle's image says whether it does anything at all.
    """

    name: str
    part: Part
    what: str
    requirements: tuple[str, ...]
    edits: tuple[Edit, ...]
    needs_machines: bool = False
    on_disks: bool = False


def seeded(part: Part, name: str, what: str, requirements: tuple[str, ...], *edits: tuple[str, str, str]) -> Defect:
    """Return a defect that needs no machine; ``edits`` are (module, old text, new text)."""
    return Defect(name, part, what, requirements, tuple(Edit(*edit) for edit in edits))


def patched_sources(defect: Defect, sources: Mapping[str, str]) -> dict[str, str]:
    """Return the changed sources by full module name, from the unchanged ones. Raises PatchDoesNotApply."""
    changed: dict[str, str] = {}
    for edit in defect.edits:
        name = edit.full_module
        changed[name] = edit.applied(changed.get(name, sources[name]))
    return changed
