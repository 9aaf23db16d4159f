"""Clouds of a VMM server: the driver over the emulated one, jobs that fail or never end, a view that grows old."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hyperv_backends import MEMORY, Emulated, emulated
from test_hyperv_script import broken

from lab.emulators.common.faults import Delay, Fail
from lab.emulators.hyperv.powershell.values import PowerShellError
from lab.emulators.hyperv.vmm import CLOUD, TEMPLATE
from lab.hypervisors.hyperv import session as session_module
from lab.hypervisors.hyperv.script import render
from lab.hypervisors.hyperv.vmm import Cloud, Vmm, VmmMachine
from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, PowerState, SnapshotId
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound
from lab.waiting import Deadline, DeadlineExceeded


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Emulated]:
    with ExitStack() as stack:
        yield emulated(MEMORY, tmp_path / "host", stack, "mine", vmm=True)


@pytest.fixture
def vmm(host: Emulated) -> Vmm:
    return host.driver("mine").vmm()


@pytest.fixture
def cloud(vmm: Vmm) -> Cloud:
    [found] = vmm.clouds()
    assert found.name == CLOUD
    return found


@pytest.fixture
def machine(vmm: Vmm, cloud: Cloud) -> VmmMachine:
    return vmm.create("it's a machine", TEMPLATE, cloud)


def test_inventory_and_placement(vmm: Vmm, cloud: Cloud, machine: VmmMachine) -> None:
    assert [item.name for item in vmm.hosts()] == ["HV01"]
    assert vmm.hosts()[0].memory_bytes > 1 << 28
    assert list(vmm.machines(cloud)) == [machine] == [vmm.machine(machine.key)]
    assert machine.key != machine.machine_key
    assert machine.power is PowerState.OFF
    with pytest.raises(Conflict, match="has one of that name"):
        vmm.create(machine.name, TEMPLATE, cloud)
    with pytest.raises(NotFound, match="template nothing"):
        vmm.create("other", "nothing", cloud)
    vmm.remove(machine.key)
    with pytest.raises(NotFound):
        vmm.machine(machine.key)


def test_power_is_changed_by_jobs(host: Emulated, vmm: Vmm, machine: VmmMachine) -> None:
    for change, expected in (
        (vmm.power_on, PowerState.ON),
        (vmm.power_off, PowerState.OFF),
        (vmm.power_on, PowerState.ON),
        (lambda key: vmm.shut_down(key, Deadline.after(10)), PowerState.OFF),
    ):
        assert change(machine.key).power is expected
    assert host.emulator.manager is not None
    assert {job.status for job in host.emulator.manager.jobs} == {"Completed"}
    with pytest.raises(NotFound):
        vmm.power_on("01234567-89ab-cdef-0123-456789abcdef")


def test_what_happens_without_vmm_is_seen_after_a_refresh(host: Emulated, vmm: Vmm, machine: VmmMachine) -> None:
    from lab.emulators.hyperv.cmdlets.power import start

    start(host.emulator.host, host.emulator.host.machines[0])
    assert vmm.machine(machine.key).power is PowerState.OFF
    assert vmm.refresh(machine.key).power is PowerState.ON


def test_a_job_that_fails_says_why(host: Emulated, vmm: Vmm, machine: VmmMachine) -> None:
    vmm.power_on(machine.key)
    with pytest.raises(HypervisorError, match=r"ended as Failed: .*current state"):
        vmm.remove(machine.key)
    refused = PowerShellError("no", "1602,Microsoft.SystemCenter")
    host.emulator.faults.next("Start-SCVirtualMachine", Fail(refused))
    with pytest.raises(HypervisorError, match=r"no \(1602"):
        vmm.power_on(machine.key)


def test_a_job_that_does_not_end_is_waited_for_no_longer_than_the_deadline(
    host: Emulated, vmm: Vmm, machine: VmmMachine
) -> None:
    host.emulator.host.backend.host.shut_down = _never  # type: ignore[method-assign]
    vmm.power_on(machine.key)
    with pytest.raises(DeadlineExceeded, match="Stop-SCVirtualMachine"):
        vmm.shut_down(machine.key, Deadline.after(0.5))
    _END.set()


def _never(_name: str, _deadline: Deadline) -> None:
    _END.wait(20)


def _event() -> Any:
    import threading

    return threading.Event()


_END = _event()


def test_checkpoints(host: Emulated, vmm: Vmm, machine: VmmMachine) -> None:
    first, second = (vmm.create_checkpoint(machine.key, name) for name in ("same", "same"))
    assert first != second
    assert list(vmm.checkpoints(machine.key)) == [first, second]
    vmm.restore_checkpoint(machine.key, first)
    vmm.remove_checkpoint(machine.key, second)
    assert list(vmm.checkpoints(machine.key)) == [first]
    with pytest.raises(NotFound):
        vmm.remove_checkpoint(machine.key, second)
    with pytest.raises(NotFound):
        vmm.restore_checkpoint(machine.key, SnapshotId("01234567-89ab-cdef-0123-456789abcdef", "x"))


def test_a_machine_of_the_host_is_in_no_cloud(host: Emulated, vmm: Vmm, cloud: Cloud) -> None:
    driver = host.driver("mine")
    driver.create_disk(DiskId("a"), 1 << 20)
    driver.define(MachineSpec("m1", 1, 64, (DiskAttachment(DiskId("a"), "a"),), (), None))
    assert list(vmm.machines(cloud)) == []


def test_a_host_without_vmm_says_so(tmp_path: Path) -> None:
    with ExitStack() as stack:
        found = emulated(MEMORY, tmp_path / "host", stack, "mine").driver("mine")
        with pytest.raises(HypervisorError, match="cannot contact the VMM"):
            found.vmm().clouds()


@pytest.mark.parametrize("status", ["Missing", "HostNotResponding"])
def test_a_machine_of_which_vmm_knows_nothing_is_not_called_on(status: str) -> None:
    with pytest.raises(HypervisorError, match=status):
        _ = VmmMachine("a", "b", "c", status).power
    assert VmmMachine("a", "b", "c", "Starting").power is PowerState.ON


def test_every_script_is_understood_by_an_independent_grammar(
    host: Emulated, vmm: Vmm, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts: list[str] = []

    def recording(queries: Any) -> str:
        scripts.append(render(queries))
        return scripts[-1]

    monkeypatch.setattr(session_module, "render", recording)
    [cloud] = vmm.clouds()
    made = vmm.create("a", TEMPLATE, cloud)
    checkpoint = vmm.create_checkpoint(made.key, "it's one")
    vmm.restore_checkpoint(made.key, checkpoint)
    vmm.remove_checkpoint(made.key, checkpoint)
    vmm.hosts()
    vmm.remove(made.key)
    assert len(set(scripts)) > 10
    assert {script: found for script in set(scripts) if (found := broken(script))} == {}


def test_a_slow_server_is_waited_for(host: Emulated, vmm: Vmm) -> None:
    host.emulator.faults.next("Get-SCCloud", Delay(0.2))
    assert [cloud.name for cloud in vmm.clouds()] == [CLOUD]
