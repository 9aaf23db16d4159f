"""Capture from the first write of every boot: a boot script in front of the machine's own initramfs."""

from lab.replication.mobility.boot.prepare import prepare, remove

__all__ = ["prepare", "remove"]
