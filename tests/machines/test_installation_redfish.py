"""Installing over Redfish: a real boot of a medium, and the faults of a BMC, each with nothing half done."""

from collections.abc import Iterator

import boot_sector
import pytest
from bmc_backends import Emulated

from lab.emulators.bmc.faults import Broken, Ignored
from lab.emulators.common.faults import Fail, Faults
from lab.errors import BadInput
from lab.hypervisors.model import PowerState
from lab.machines.installation import Console, NotInstalled, Patience, Signs, install
from lab.machines.power import BmcError, BootSource, LoginRefused, MediaRefused
from lab.machines.redfish import RedfishBmc, connect
from lab.waiting import Deadline, wait_until

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SIGNS = Signs("installer: started", boot_sector.INSTALLER, "installer: refused:")


@pytest.fixture
def bmc(emulated_bmc: Emulated) -> Iterator[RedfishBmc]:
    found = connect(emulated_bmc.target())
    found.power_off(Deadline.after(60))
    yield found
    found.power_off(Deadline.after(60))
    found.boot_normally()
    found.eject()
    found.close()


@pytest.fixture
def faults(emulated_bmc: Emulated) -> Faults:
    return emulated_bmc.serving.application.faults


def run(emulated: Emulated, bmc: RedfishBmc, medium: str, seconds: float = 60) -> None:
    install(bmc, medium, Console(emulated.console), SIGNS, Patience(seconds, seconds))


def assert_as_found(bmc: RedfishBmc) -> None:
    assert bmc.state() is PowerState.OFF
    assert bmc.inserted() is None
    assert bmc.boot_override() is None


def test_the_medium_runs_and_the_next_boot_is_the_disk(emulated_bmc: Emulated, bmc: RedfishBmc) -> None:
    before = len(emulated_bmc.booted())
    run(emulated_bmc, bmc, emulated_bmc.installer)
    assert_as_found(bmc)
    assert emulated_bmc.console.read_text(errors="replace").rstrip().endswith(boot_sector.INSTALLER)
    bmc.power_on(Deadline.after(60))
    wait_until(lambda: len(emulated_bmc.booted()) > before, Deadline.after(60), "boot")
    assert emulated_bmc.booted()[before:] == [BootSource.DISK]


def test_an_installer_that_never_ends_is_shown_with_its_console(emulated_bmc: Emulated, bmc: RedfishBmc) -> None:
    with pytest.raises(NotInstalled, match=boot_sector.CD):
        run(emulated_bmc, bmc, emulated_bmc.medium, seconds=10)
    assert_as_found(bmc)


@pytest.mark.parametrize("fault", [Ignored(), Broken(after=False)])
def test_a_medium_that_does_not_get_in_boots_nothing(
    emulated_bmc: Emulated, bmc: RedfishBmc, faults: Faults, fault: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.machines.redfish.SETTLE_SECONDS", 1.0)
    before = emulated_bmc.console.read_bytes() if emulated_bmc.console.exists() else b""
    faults.next("VirtualMedia.InsertMedia", Fail(fault))
    with pytest.raises(MediaRefused, match="in the drive: nothing"):
        run(emulated_bmc, bmc, emulated_bmc.installer)
    assert_as_found(bmc)
    assert (emulated_bmc.console.read_bytes() if emulated_bmc.console.exists() else b"") == before


def test_a_medium_that_is_not_there_is_refused(emulated_bmc: Emulated, bmc: RedfishBmc) -> None:
    with pytest.raises(MediaRefused, match=r"nothing\.iso"):
        run(emulated_bmc, bmc, emulated_bmc.medium.replace("cd.iso", "nothing.iso"))
    assert_as_found(bmc)


def test_a_bmc_that_ignores_the_boot_choice_does_not_boot_the_old_disk(
    emulated_bmc: Emulated, bmc: RedfishBmc, faults: Faults
) -> None:
    before = len(emulated_bmc.booted())
    faults.next("System.Patch", Fail(Ignored()))
    with pytest.raises(BmcError, match="boot from cd was asked for, the BMC says nothing of it"):
        run(emulated_bmc, bmc, emulated_bmc.installer)
    assert_as_found(bmc)
    assert len(emulated_bmc.booted()) == before


def test_who_may_not_log_in_or_names_no_system_changes_nothing(emulated_bmc: Emulated, bmc: RedfishBmc) -> None:
    for error, change in ((LoginRefused, {"password": "wrong"}), (BadInput, {"system": None})):
        with pytest.raises(error):
            connect(emulated_bmc.target(**change))
    assert_as_found(bmc)
    assert emulated_bmc.serving.application.accounts.sessions == 1, "ours alone"
