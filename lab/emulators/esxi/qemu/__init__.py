"""Machines and disks by QEMU, driven directly over QMP."""

from lab.emulators.esxi.qemu.backend import QemuBackend

__all__ = ["QemuBackend"]
