"""The backends that the contract runs over, each with what a test needs to look behind it."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from libvirt_here import libvirt_refusal

from lab.hypervisors.model import DiskId
from lab.hypervisors.protocols import CloudHypervisor


@dataclass(frozen=True)
class Backend:
    """A driver of one lab, and its neighbour: a driver of another lab on the same host."""

    host: CloudHypervisor
    neighbour: CloudHypervisor
    file_of: Callable[[DiskId], Path] | None
    """Where the content of a disk is, or None when the backend keeps no content."""
    needs_a_guest: bool
    """Whether unplugging and the power button wait for a system inside the machine."""
    remove_all: Callable[[], list[str]]


def libvirt_store(stack: ExitStack, prefix: str) -> Path:
    """Return a folder for labs in libvirt that goes with the stack; skip the test where libvirt cannot be used."""
    refusal = libvirt_refusal("qemu-system-x86_64")
    if refusal is not None:
        pytest.skip(refusal)
    # Not tmp_path: QEMU's user has to be able to enter the folder.
    store = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir="/var/tmp"))
    stack.callback(shutil.rmtree, store, ignore_errors=True)
    store.chmod(0o711)
    return store
