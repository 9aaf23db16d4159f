import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from backends import Backend, libvirt_store
from esxi_backends import (
    EMULATED,
    ENDPOINT_GAPS,
    VCSIM_GAPS,
    emulated_backend,
    endpoint_target,
    foreign_backend,
)
from hyperv_backends import EMULATED as HYPERV
from hyperv_backends import ENDPOINT_GAPS as HYPERV_GAPS
from hyperv_backends import emulated_backend as hyperv_backend
from hyperv_backends import endpoint_target as hyperv_target
from hyperv_backends import foreign_backend as foreign_hyperv
from libvirt_here import URI
from vcsim_server import vcsim, vcsim_program, vcsim_refusal

from lab.hypervisors.memory import MemoryHypervisor
from lab.hypervisors.routed import RoutedHypervisor

HYPERV_ENDPOINT = "real-hyperv"
FOREIGN = {
    "vcsim-host": VCSIM_GAPS,
    "vcsim-vcenter": VCSIM_GAPS,
    "endpoint": ENDPOINT_GAPS,
    HYPERV_ENDPOINT: HYPERV_GAPS,
}
# The first of them builds vcsim.
VCSIM = [pytest.param(name, marks=pytest.mark.timeout(600)) for name in ("vcsim-host", "vcsim-vcenter")]
BACKENDS = ["memory", "routed", pytest.param("libvirt", marks=pytest.mark.qemu), *EMULATED, *HYPERV, *VCSIM]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the contract over a real host only when one is named: a test that cannot run is not there."""
    if "backend" in metafunc.fixturenames and not _own_backends(metafunc):
        options = {"endpoint": "--endpoint", HYPERV_ENDPOINT: "--hyperv-endpoint"}
        real = [name for name, option in options.items() if metafunc.config.getoption(option)]
        metafunc.parametrize("backend", [*BACKENDS, *real], indirect=True)


def _own_backends(metafunc: pytest.Metafunc) -> bool:
    return any("backend" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))


@pytest.fixture
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "memory":
        yield Backend(MemoryHypervisor(), MemoryHypervisor(), None, needs_a_guest=False, remove_all=list)
        return
    if request.param == "routed":
        yield _routed()
        return
    if request.param.startswith(("esxi-", "vcenter-")):
        with ExitStack() as stack:
            yield emulated_backend(request.param, tmp_path / "host", stack)
        return
    if request.param.startswith("hyperv-"):
        with ExitStack() as stack:
            yield hyperv_backend(request.param, tmp_path / "host", stack)
        return
    if request.param in FOREIGN:
        with ExitStack() as stack:
            yield _foreign(request, tmp_path, stack)
        return
    with ExitStack() as stack:
        yield _libvirt(stack)


def _routed() -> Backend:
    """Two hosts as one, each with some of the machines and disks of the contract."""
    place = lambda name: ("left", "right", None)[sum(name.partition("-")[0].encode()) % 3]  # noqa: E731
    mine, other = (RoutedHypervisor({"left": MemoryHypervisor(), "right": MemoryHypervisor()}, place) for _ in "ab")
    return Backend(mine, other, None, needs_a_guest=False, remove_all=list)


def _foreign(request: pytest.FixtureRequest, tmp_path: Path, stack: ExitStack) -> Backend:
    gap = FOREIGN[request.param].get(request.node.originalname)
    if gap is not None:
        pytest.skip(f"{request.param}: {gap}")
    if request.param == "endpoint":
        target = endpoint_target(request.config.getoption("--endpoint"))
        return foreign_backend(target, tmp_path, stack, needs_a_guest=True)
    if request.param == HYPERV_ENDPOINT:
        url = request.config.getoption("--hyperv-endpoint")
        return foreign_hyperv(hyperv_target(url), tmp_path, stack)
    refusal = vcsim_refusal()
    if refusal is not None:
        pytest.skip(refusal)
    program = vcsim_program(request.config.cache.mkdir("vcsim"))
    target = stack.enter_context(vcsim(program, tmp_path / "vcsim", esx=request.param == "vcsim-host"))
    return foreign_backend(target, tmp_path, stack, needs_a_guest=False)


def _libvirt(stack: ExitStack) -> Backend:
    store = libvirt_store(stack, "contract")
    from lab.hypervisors.libvirt import connect

    labs = []
    for letter in "ab":
        lab = connect(URI, f"contract-{os.getpid()}-{letter}", store, "tcg")
        stack.callback(lab.close)
        stack.callback(lab.remove_all)
        labs.append(lab)
    host, neighbour = labs
    return Backend(host, neighbour, host.storage.path, needs_a_guest=True, remove_all=host.remove_all)
