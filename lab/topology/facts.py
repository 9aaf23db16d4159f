"""What a plan has to know about the machine that runs labs. ``lab.doctor`` finds it out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Acceleration(StrEnum):
    """How QEMU runs guests: with the processor's help, or by translating every instruction."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True)
class AccelerationFact:
    """``proved``: a kernel was really booted (or really hung) to find this out."""

    acceleration: Acceleration
    proved: bool
    reason: str


@dataclass(frozen=True)
class LibvirtFact:
    """Whether a libvirt URI answers; ``detail`` is the version, or what libvirt said."""

    uri: str
    reachable: bool
    detail: str


@dataclass(frozen=True)
class Facts:
    """One look at this machine; sizes are in bytes."""

    cores: int
    memory_bytes: int
    memory_available_bytes: int
    disk_path: str
    disk_free_bytes: int
    acceleration: AccelerationFact
    libvirt: tuple[LibvirtFact, ...]
    missing_tools: frozenset[str]
    systemd: bool
    root: bool

    def reaches(self, uri: str) -> bool:
        """Whether libvirt answered at ``uri``."""
        return any(fact.reachable for fact in self.libvirt if fact.uri == uri)


@dataclass(frozen=True)
class Lack:
    """Something that is missing here, and the command (or step) that cures it."""

    what: str
    cure: str


PACKAGE_OF_TOOL = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "sfdisk": "fdisk",
    "grub-mkimage": "grub-pc-bin grub-common",
    "genisoimage": "genisoimage",
    "ip": "iproute2",
}


PACKAGE_OF_NETBOOT = {
    "dnsmasq": "dnsmasq-base",
    "/usr/lib/ipxe/undionly.kpxe": "ipxe",
    "/usr/lib/ipxe/qemu/efi-virtio.rom": "ipxe-qemu",
}
"""What is needed only where machines are installed over a network: a program, or a file by its path."""


def libvirt_cure(*, systemd: bool) -> str:
    """Return the command that makes libvirt answer."""
    return "systemctl start libvirtd" if systemd else "libvirtd -d && virtlogd -d"


def tool_lacks(facts: Facts) -> list[Lack]:
    """Return a lack for each program that is not installed."""
    missing = facts.missing_tools - PACKAGE_OF_NETBOOT.keys()
    return [_not_installed(tool, PACKAGE_OF_TOOL.get(tool, tool)) for tool in sorted(missing)]


def netboot_lacks(facts: Facts) -> list[Lack]:
    """Return a lack for each thing that is missing to install machines over a network."""
    missing = sorted(facts.missing_tools & PACKAGE_OF_NETBOOT.keys())
    return [_not_installed(tool, PACKAGE_OF_NETBOOT[tool]) for tool in missing]


def _not_installed(tool: str, package: str) -> Lack:
    return Lack(f"{tool} is not installed", f"apt-get install --no-install-recommends {package}")


def libvirt_lacks(facts: Facts, uris: frozenset[str]) -> list[Lack]:
    """Return a lack for each of ``uris`` at which libvirt did not answer."""
    known = {fact.uri: fact for fact in facts.libvirt}
    return [
        Lack(
            f"libvirt does not answer at {uri}" + (f": {known[uri].detail}" if uri in known else ""),
            libvirt_cure(systemd=facts.systemd) if ":///" in uri else f"start libvirtd on the host of {uri}",
        )
        for uri in sorted(uris)
        if not facts.reaches(uri)
    ]
