import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from backends import LIBVIRT_URI, Backend, libvirt_refusal
from esxi_backends import EMULATED, emulated_backend

from lab.hypervisors.memory import MemoryHypervisor

BACKENDS = ["memory", pytest.param("libvirt", marks=pytest.mark.qemu), *EMULATED]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "memory":
        yield Backend(MemoryHypervisor(), MemoryHypervisor(), None, needs_a_guest=False, remove_all=list)
        return
    if request.param.startswith(("esxi-", "vcenter-")):
        with ExitStack() as stack:
            yield emulated_backend(request.param, tmp_path / "host", stack)
        return
    refusal = libvirt_refusal()
    if refusal is not None:
        pytest.skip(refusal)
    with ExitStack() as stack:
        yield _libvirt(stack)


def _libvirt(stack: ExitStack) -> Backend:
    from lab.hypervisors.libvirt import connect

    # Not tmp_path: QEMU's user has to be able to enter the folder.
    store = Path(tempfile.mkdtemp(prefix="contract-", dir="/var/tmp"))
    stack.callback(shutil.rmtree, store, ignore_errors=True)
    store.chmod(0o711)
    labs = []
    for letter in "ab":
        lab = connect(LIBVIRT_URI, f"contract-{os.getpid()}-{letter}", store, "tcg")
        stack.callback(lab.close)
        stack.callback(lab.remove_all)
        labs.append(lab)
    host, neighbour = labs
    return Backend(host, neighbour, host.storage.path, needs_a_guest=True, remove_all=host.remove_all)
