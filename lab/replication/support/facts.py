"""What a support matrix is compared with: the system, kernel, architecture and firmware of a machine."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

OS_RELEASE = Path("/etc/os-release")
EFI = Path("/sys/firmware/efi")
UEFI, BIOS = "uefi", "bios"
PROBE = ("sh", "-c", f"uname -r; uname -m; [ -d {EFI} ] && echo {UEFI} || echo {BIOS}; cat {OS_RELEASE}")
"""Prints what ``read_probe`` reads, on a machine that has nothing of ours yet."""
UNKNOWN = "unknown"


@dataclass(frozen=True)
class SystemFacts:
    """A machine's ``ID`` and ``VERSION_ID`` of os-release(5), kernel release, architecture, ``uefi`` or ``bios``."""

    system: str
    version: str
    kernel: str
    architecture: str
    firmware: str

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> SystemFacts:
        """Read what ``to_json`` gives; what is missing is unknown, and unknown is not supported."""
        return cls(**{field.name: str(value.get(field.name) or UNKNOWN) for field in fields(cls)})

    def to_json(self) -> dict[str, str]:
        """Return the facts by name."""
        return asdict(self)

    def __str__(self) -> str:
        """Return them for messages."""
        return f"{self.system} {self.version}, kernel {self.kernel}, {self.architecture}, {self.firmware}"


def read_probe(text: str) -> SystemFacts:
    """Return the facts of a machine on which ``PROBE`` was run."""
    kernel, architecture, firmware, release = [*text.split("\n", 3), "", "", "", ""][:4]
    return _facts(release, kernel, architecture, firmware)


def facts_of_this_machine() -> SystemFacts:
    """Return the facts of the machine that this runs on."""
    machine = os.uname()
    release = OS_RELEASE.read_text(encoding="utf-8") if OS_RELEASE.exists() else ""
    return _facts(release, machine.release, machine.machine, UEFI if EFI.is_dir() else BIOS)


def parse_os_release(text: str) -> dict[str, str]:
    """Return the assignments of an os-release(5) file; a line that is none is passed over."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if not equals or key.startswith("#"):
            continue
        try:
            words = shlex.split(value)
        except ValueError:
            continue
        found[key] = words[0] if words else ""
    return found


def _facts(release: str, kernel: str, architecture: str, firmware: str) -> SystemFacts:
    named = parse_os_release(release)
    return SystemFacts.from_json(
        {
            "system": named.get("ID", "").lower(),
            "version": named.get("VERSION_ID", ""),
            "kernel": kernel.strip(),
            "architecture": architecture.strip(),
            "firmware": firmware.strip(),
        }
    )
