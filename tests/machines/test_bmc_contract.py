"""The contract of a BMC, over every one that there is. A machine is off at first, and its drive is empty."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from bmc_backends import Emulated, Machine, memory_machine, real_machine

from lab.hypervisors.model import PowerState
from lab.machines.power import Bmc, BmcError, BootSource, Ending, MediaRefused, booting_from, shut_down
from lab.machines.redfish import connect
from lab.waiting import Deadline, wait_until

# sushy-tools leaves the files of media open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
# "ipmi": power by ipmitool and virtualbmc, all else by Redfish, as in a lab whose topology says so.
BACKENDS = ["memory", *(pytest.param(name, marks=pytest.mark.qemu) for name in ("sushy", "ipmi"))]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run over a real BMC only when one is named: a test that cannot run is not there."""
    real = ["endpoint"] if metafunc.config.getoption("--bmc-endpoint") else []
    metafunc.parametrize("machine", [*BACKENDS, *real], indirect=True)


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with ExitStack() as stack:
        if request.param == "memory":
            found = memory_machine()
        elif request.param == "endpoint":
            found = real_machine(request.config.getoption("--bmc-endpoint"))
        else:
            emulated: Emulated = request.getfixturevalue("emulated_bmc")
            ipmi = request.param == "ipmi"
            found = _emulated(emulated, request.getfixturevalue("ipmi_bmc").bmc() if ipmi else None)
        stack.callback(found.bmc.close)
        stack.callback(_as_before, found)
        _as_before(found)
        yield found


def _emulated(emulated: Emulated, bmc: Bmc | None) -> Machine:
    before = len(emulated.booted())
    return Machine(bmc or connect(emulated.target()), emulated.medium, lambda: emulated.booted()[before:])


def _as_before(machine: Machine) -> None:
    machine.bmc.power_off(soon())
    machine.bmc.boot_normally()
    machine.bmc.eject()


def soon() -> Deadline:
    return Deadline.after(60)


def assert_booted(machine: Machine, *sources: BootSource) -> None:
    if machine.booted is not None:
        look = machine.booted
        wait_until(lambda: len(look()) >= len(sources), soon(), "boot", explain=lambda: str(look()))
        assert look() == list(sources)


def test_on_and_off_are_seen_and_may_be_repeated(machine: Machine) -> None:
    assert machine.bmc.state() is PowerState.OFF
    machine.bmc.power_off(soon())
    machine.bmc.power_on(soon())
    machine.bmc.power_on(soon())
    assert machine.bmc.state() is PowerState.ON
    assert_booted(machine, BootSource.DISK)
    machine.bmc.power_off(soon())
    assert machine.bmc.state() is PowerState.OFF


def test_a_running_machine_is_reset_and_one_that_is_off_is_not(machine: Machine) -> None:
    with pytest.raises(BmcError, match="is off"):
        machine.bmc.reset(soon())
    assert machine.bmc.state() is PowerState.OFF
    machine.bmc.power_on(soon())
    assert_booted(machine, BootSource.DISK)
    machine.bmc.reset(soon())
    assert_booted(machine, BootSource.DISK, BootSource.DISK)


def test_a_system_that_does_not_heed_the_button_loses_its_power_at_the_deadline(machine: Machine) -> None:
    assert shut_down(machine.bmc, Deadline.after(1), soon()) is Ending.GRACEFUL
    machine.bmc.power_on(soon())
    if machine.booted is not None:
        assert shut_down(machine.bmc, Deadline.after(1), soon()) is Ending.FORCED
    else:
        shut_down(machine.bmc, soon(), soon())
    assert machine.bmc.state() is PowerState.OFF


def test_once_is_for_one_boot(machine: Machine) -> None:
    machine.bmc.insert(machine.medium)
    machine.bmc.boot_once(BootSource.CD)
    assert machine.bmc.boot_override() is BootSource.CD
    machine.bmc.power_on(soon())
    assert_booted(machine, BootSource.CD)
    assert machine.bmc.boot_override() is None
    machine.bmc.reset(soon())
    assert_booted(machine, BootSource.CD, BootSource.DISK)


def test_a_choice_is_taken_back(machine: Machine) -> None:
    machine.bmc.insert(machine.medium)
    with booting_from(machine.bmc, BootSource.CD):
        assert machine.bmc.boot_override() is BootSource.CD
    assert machine.bmc.boot_override() is None
    machine.bmc.power_on(soon())
    assert_booted(machine, BootSource.DISK)


def test_media_come_and_go_and_are_not_replaced_unasked(machine: Machine) -> None:
    assert machine.bmc.inserted() is None
    with pytest.raises(BmcError, match="no medium"):
        machine.bmc.boot_once(BootSource.CD)
    machine.bmc.insert(machine.medium)
    machine.bmc.insert(machine.medium)
    assert machine.bmc.inserted() == machine.medium
    with pytest.raises(MediaRefused, match="eject it first"):
        machine.bmc.insert(f"{machine.medium}.other")
    machine.bmc.eject()
    machine.bmc.eject()
    assert machine.bmc.inserted() is None
