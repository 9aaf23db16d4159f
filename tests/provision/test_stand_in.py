"""Bare machines behind emulated BMCs: made, switched, and gone with the lab, also after a crash."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bare_labs import URI, board, left_over, need_libvirt

from lab.errors import LabError
from lab.hypervisors.libvirt import connect
from lab.hypervisors.model import PowerState
from lab.machines.bmc_lease import BmcLease
from lab.machines.lease_file import Leased
from lab.provision import processes
from lab.provision.bmc import LEASE_SECONDS, BmcControl, give_back, opened, power_over_bmc
from lab.provision.down import tear_down
from lab.provision.home import Home, LabFolder
from lab.provision.lease_keeper import renew_all
from lab.provision.login import ssh_command
from lab.provision.power import machine_control
from lab.provision.stand_in import make_stand_in
from lab.provision.state import LabState, Phase, save_state
from lab.topology.load import load_topology

TOPOLOGY = Path(__file__).parents[2] / "topologies" / "physical-bmc.yaml"
pytestmark = [pytest.mark.qemu, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def bare_home() -> Iterator[Home]:
    need_libvirt()
    # Not tmp_path: QEMU's user has to be able to enter the folder.
    folder = Path(tempfile.mkdtemp(prefix="bare-", dir="/var/tmp"))
    folder.chmod(0o711)
    yield Home(folder)
    shutil.rmtree(folder)


@pytest.fixture
def bare(bare_home: Home) -> Iterator[tuple[LabFolder, LabState]]:
    """The lab's folder and state with app1 as a bare machine; the lab is taken down afterwards."""
    folder = bare_home.lab(f"bare-{os.getpid()}")
    bare_home.labs.mkdir(exist_ok=True)
    bare_home.labs.chmod(0o711)
    folder.make()
    try:
        yield folder, _made(folder)
    finally:
        tear_down(bare_home, folder.name, board())
    assert left_over(folder) == []


def _made(folder: LabFolder) -> LabState:
    topology = load_topology(TOPOLOGY)
    access = make_stand_in(topology, "app1", folder, "tcg")
    state = LabState(
        lab=folder.name,
        topology=TOPOLOGY,
        topology_digest=topology.digest,
        host_uris=(URI,),
        acceleration="tcg",
        phase=Phase.UP,
        host_keys={"app1": "ssh-ed25519 AAAA"},
        physical={"app1": access},
    )
    save_state(folder, state)
    return state


def test_only_the_bmc_switches_the_machine(bare: tuple[LabFolder, LabState], bare_home: Home) -> None:
    folder, state = bare
    access = state.physical["app1"]
    own = connect(URI, folder.name, bare_home.labs, "tcg")
    assert list(own.machines()) == []
    assert own.disks() == []
    control = BmcControl(access, folder)
    assert control.power() is PowerState.OFF
    control.power_on()
    assert control.power() is PowerState.ON
    assert power_over_bmc(access) == "on"
    taps = own.switches._links()  # type: ignore[attr-defined]
    assert any(link.startswith("lt") for link in taps), "its card is on the lab's switch"
    own.close()
    control.power_off()
    assert control.power() is PowerState.OFF
    assert control.console == access.console
    with machine_control(bare_home, folder.name, "app1") as named:
        assert named.power() is PowerState.OFF
    with pytest.raises(LabError, match="did you mean 'app1'"), machine_control(bare_home, folder.name, "app2"):
        pass


def test_ssh_goes_where_the_machine_is(bare: tuple[LabFolder, LabState], bare_home: Home) -> None:
    folder, state = bare
    argv = ssh_command(bare_home, folder.name, "app1", ["true"])
    assert str(state.physical["app1"].ssh_port) in argv


def test_the_lease_is_kept_and_given_back(bare: tuple[LabFolder, LabState]) -> None:
    access = bare[1].physical["app1"]
    with opened(access) as bmc:
        BmcLease(bmc, access.lease, 0.1).acquire("mine", 5)
        assert renew_all({"app1": access}) == {"app1": access}
        with pytest.raises(Leased, match=rf"mine works with this machine for another ({LEASE_SECONDS}|59\d) s"):
            BmcLease(bmc, "ffff", 0.1).acquire("other", 5)
    assert renew_all({"app1": access.model_copy(update={"lease": "ffff"})}) == {}
    BmcControl(access, bare[0]).power_on()
    assert give_back(bare[1]) == ["lease on app1"]
    with opened(access) as bmc:
        assert (bmc.state(), bmc.asset_tag()) == (PowerState.OFF, "")


def test_a_machine_of_another_lab_is_not_given_back(bare: tuple[LabFolder, LabState]) -> None:
    folder, state = bare
    access = state.physical["app1"]
    BmcControl(access, folder).power_on()
    with opened(access) as bmc:
        BmcLease(bmc, "ffff", 0.1).acquire("other", 600)
        assert give_back(state) == []
        assert bmc.state() is PowerState.ON
        BmcLease(bmc, "ffff", 0.1).release()


def test_a_killed_bmc_leaves_nothing_behind(bare: tuple[LabFolder, LabState], bare_home: Home) -> None:
    folder, state = bare
    BmcControl(state.physical["app1"], folder).power_on()
    (process,) = (found for found in processes.recorded(folder) if found.name == "emulated-bmc-app1")
    os.kill(process.pid, signal.SIGKILL)
    assert power_over_bmc(state.physical["app1"]) == "BMC does not answer"
    removed = tear_down(bare_home, folder.name, board())
    assert "machine app1" in removed
    assert left_over(folder) == []


def test_a_lab_that_died_before_it_remembered_its_machine_is_reaped(
    bare: tuple[LabFolder, LabState], bare_home: Home
) -> None:
    folder, state = bare
    save_state(folder, state.model_copy(update={"physical": {}}))
    assert "machine app1" in tear_down(bare_home, folder.name, board())
    assert left_over(folder) == []
