"""Labs on an ESXi host: what a topology may say, how the emulated host comes and goes with the lab."""

import os
import signal
from pathlib import Path

import pytest

from lab.errors import BadInput, LabError
from lab.hypervisors.model import MachineSpec
from lab.provision import processes
from lab.provision.esxi import access_to, esxi_host_of, open_esxi, remove_emulated
from lab.provision.home import Home, LabFolder
from lab.provision.state import EsxiAccess, LabState, Phase
from lab.provision.up import place_of
from lab.replication.common.config import BadConfig
from lab.replication.fabric.config import FabricConfig, open_driver
from lab.topology.hosts import EsxiHost
from lab.topology.load import load_topology
from lab.topology.model import Topology

SOURCE = (Path(__file__).parents[2] / "topologies" / "embedded.yaml").read_text()
LIBVIRT = 'local: {kind: libvirt, uri: "qemu:///system"}'


def topology(tmp_path: Path, hosts: str) -> Topology:
    file = tmp_path / "topology.yaml"
    assert LIBVIRT in SOURCE
    file.write_text(SOURCE.replace(LIBVIRT, hosts))
    return load_topology(file)


def test_a_topology_names_an_emulated_or_a_real_host(tmp_path: Path) -> None:
    emulated = topology(tmp_path, "local: {kind: esxi, emulated: true}")
    assert esxi_host_of(emulated) == EsxiHost(kind="esxi", emulated=True)
    assert emulated.libvirt_uris == frozenset()
    real = topology(tmp_path, 'local: {kind: esxi, endpoint: "https://esx1:8443", certificate: esx1.pem}')
    assert real.hosts["local"].where == "https://esx1:8443"


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("{kind: esxi}", "either 'emulated: true' or an 'endpoint'"),
        ('{kind: esxi, emulated: true, endpoint: "https://x"}', "either 'emulated: true' or an 'endpoint'"),
        ('{kind: esxi, endpoint: "https://x"}', "needs 'certificate'"),
        ('{kind: esxi, endpoint: "http://x", certificate: x.pem}', "endpoint"),
        ('{kind: esxi, endpoint: "https://user:secret@x", certificate: x.pem}', "endpoint"),
        ("{kind: esxy, emulated: true}", "esxi"),
    ],
)
def test_a_host_that_says_too_little_or_too_much_is_refused(tmp_path: Path, host: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        topology(tmp_path, f"local: {host}")


def test_a_lab_has_one_host_of_each_kind_at_most(tmp_path: Path) -> None:
    both = topology(tmp_path, f"{LIBVIRT}\n  vc: {{kind: esxi, emulated: true}}")
    assert esxi_host_of(both) == both.hosts["vc"]
    two = topology(tmp_path, "local: {kind: esxi, emulated: true}\n  vc: {kind: esxi, emulated: true}")
    with pytest.raises(BadInput, match="there are: local, vc"):
        esxi_host_of(two)
    three = topology(
        tmp_path, f'{LIBVIRT}\n  l2: {{kind: libvirt, uri: "qemu:///session"}}\n  vc: {{kind: esxi, emulated: true}}'
    )
    with pytest.raises(BadInput, match="there are: qemu:///session, qemu:///system"):
        esxi_host_of(three)


def test_a_disk_is_made_where_its_machine_is(tmp_path: Path) -> None:
    state = LabState(
        lab="x",
        topology=tmp_path,
        topology_digest="",
        host_uris=("qemu:///system",),
        acceleration="tcg",
        phase=Phase.UP,
        host_keys={"app": "", "app-two": "", "mt1": ""},
        on_libvirt=("app", "mt1"),
    )
    place = place_of(state)
    assert [place(name) for name in ("app", "app-system", "app-two", "app-two-system", "mt1-cache", "newcomer")] == [
        "libvirt",
        "libvirt",
        "esxi",
        "esxi",
        "libvirt",
        None,
    ]


def test_the_password_of_a_real_host_is_in_the_environment_and_nowhere_else(
    tmp_path: Path, folder: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = topology(tmp_path, 'local: {kind: esxi, endpoint: "https://esx1", certificate: esx1.pem}')
    host = found.hosts["local"]
    assert isinstance(host, EsxiHost)
    monkeypatch.delenv("ESXI_PASSWORD", raising=False)
    with pytest.raises(LabError, match="ESXI_PASSWORD"):
        access_to(host, found, folder, "tcg")
    monkeypatch.setenv("ESXI_PASSWORD", "open sesame")
    access = access_to(host, found, folder, "tcg")
    assert (access.host, access.port, access.certificate) == ("esx1", 443, tmp_path / "esx1.pem")
    assert "open sesame" not in access.model_dump_json()


def started(folder: LabFolder) -> EsxiAccess:
    host = EsxiHost(kind="esxi", emulated=True)
    return access_to(host, Topology.model_construct(), folder, "memory")


def test_an_emulated_host_comes_and_goes_with_its_lab(home: Home, folder: LabFolder) -> None:
    access = started(folder)
    host = open_esxi(access, folder.name, home.labs)
    host.define(MachineSpec("m1", 1, 64, (), (), None))
    host.close()
    assert access.password_file is not None
    assert access.password_file.stat().st_mode & 0o777 == 0o600
    assert processes.end_all(folder) == ["process emulated-esxi"]
    assert "datastore of the emulated host" in remove_emulated(folder)
    assert not (folder.path / "esxi").exists()
    assert remove_emulated(folder) == []


def test_an_emulated_host_that_was_killed_is_reaped(home: Home, folder: LabFolder) -> None:
    started(folder)
    [process] = processes.recorded(folder)
    os.kill(process.pid, signal.SIGKILL)
    processes.end_all(folder)
    assert "datastore of the emulated host" in remove_emulated(folder)


def test_an_emulated_host_that_does_not_start_says_why(folder: LabFolder) -> None:
    (folder.path / "esxi" / "lock").mkdir(parents=True)
    with pytest.raises(LabError, match=r"did not start.*lock"):
        started(folder)
    processes.end_all(folder)


def test_the_state_of_a_lab_keeps_how_its_host_is_reached(folder: LabFolder) -> None:
    access = EsxiAccess(host="h", port=1, user="root", certificate=Path("/c.pem"), password_file=Path("/p"))
    state = LabState(
        lab="lab1",
        topology=Path("/t"),
        topology_digest="d",
        host_uris=(),
        acceleration="tcg",
        phase=Phase.UP,
        host_keys={},
        esxi=access,
    )
    assert LabState.model_validate_json(state.model_dump_json()) == state


def test_a_fabric_opens_an_esxi_host_by_its_configuration(home: Home, folder: LabFolder, tmp_path: Path) -> None:
    access = started(folder)
    document = {
        "name": "primary",
        "listen": {"address": "127.0.0.1", "port": 0},
        "identity_dir": str(tmp_path),
        "driver": {
            "kind": "esxi",
            "lab": folder.name,
            "store": str(home.labs),
            "esxi": access.model_dump(mode="json"),
        },
    }
    config = FabricConfig.from_json(document)
    driver = open_driver(config.driver)
    assert list(driver.machines()) == []
    driver.close()
    document["driver"]["esxi"] |= {"password_file": None, "password_variable": "NOT_SET_ANYWHERE"}  # type: ignore[index]
    with pytest.raises(BadConfig, match="no password for root"):
        open_driver(FabricConfig.from_json(document).driver)
    processes.end_all(folder)
    remove_emulated(folder)
