"""Whether tests can use the libvirt of this machine, for all that need it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence

URI = "qemu:///system"


def libvirt_refusal(*programs: str) -> str | None:
    """Say why libvirt, and these programs, cannot be used here, or None."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        return f"{missing[0]} is not installed"
    try:
        import libvirt
    except ImportError as error:
        return f"libvirt's Python binding is not installed: {error}"
    from lab.hypervisors.libvirt.session import silence_library

    silence_library()
    try:
        libvirt.open(URI).close()
    except libvirt.libvirtError as error:
        return f"libvirt does not answer at {URI}: {error}"
    return None


def checkpoint_refusal(programs: Sequence[str]) -> str | None:
    """Say why checkpoints of machines cannot be read here, or None: that takes libnbd and root."""
    if importlib.util.find_spec("nbd") is None:
        return "python3-libnbd (of this Python's version) is not installed"
    if os.geteuid() != 0:
        return "checkpoints of the system's libvirt need root"
    return libvirt_refusal(*programs)
