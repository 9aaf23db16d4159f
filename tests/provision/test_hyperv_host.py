"""Labs on a Hyper-V host: what a topology may say, how the emulated host comes and goes with the lab."""

import os
import signal
from pathlib import Path

import pytest

from lab.errors import BadInput, LabError
from lab.hypervisors.hyperv import HypervHypervisor
from lab.hypervisors.model import MachineSpec
from lab.provision import processes
from lab.provision.home import Home, LabFolder
from lab.provision.hyperv import access_to, hyperv_host_of, open_hyperv, remove_emulated
from lab.provision.state import HypervAccess, LabState, Phase
from lab.provision.up import open_hypervisor, place_of
from lab.topology.facts import Acceleration, AccelerationFact, Facts
from lab.topology.hosts import HypervHost
from lab.topology.load import load_topology
from lab.topology.model import Topology
from lab.topology.plan import make_plan

SOURCE = (Path(__file__).parents[2] / "topologies" / "embedded.yaml").read_text()
LIBVIRT = 'local: {kind: libvirt, uri: "qemu:///system"}'
REAL = (
    'hv: {kind: hyperv, endpoint: "https://hv1:5987", certificate: hv1.pem, exchange: share, password: {env: HV_WORD}}'
)


def topology(tmp_path: Path, hosts: str) -> Topology:
    file = tmp_path / "topology.yaml"
    assert LIBVIRT in SOURCE
    file.write_text(SOURCE.replace(LIBVIRT, hosts.replace("hv:", "local:", 1)))
    return load_topology(file)


def test_a_topology_names_an_emulated_or_a_real_host(tmp_path: Path) -> None:
    emulated = topology(tmp_path, "hv: {kind: hyperv, emulated: true}")
    assert hyperv_host_of(emulated) == HypervHost(kind="hyperv", emulated=True)
    assert (emulated.libvirt_uris, emulated.needed_uris) == (frozenset(), {"qemu:///system"})
    real = topology(tmp_path, REAL)
    assert real.hosts["local"].where == "https://hv1:5987"
    assert real.needed_uris == frozenset()


def test_a_certificate_names_an_emulated_host_without_being_told(tmp_path: Path) -> None:
    found = topology(tmp_path, "hv: {kind: hyperv, emulated: true, vmm: true}").every_stand_in
    assert found[-1].what == "emulated Hyper-V over libvirt with an emulated VMM server"
    assert found[-1].stands_in_for == "Hyper-V host local and VMM server"
    assert set(found[-1].machines) == {"app1", "app2", "ps1", "mt1"}
    assert not [item for item in topology(tmp_path, REAL).every_stand_in if "Hyper-V" in item.what]


def test_the_plan_says_that_libvirt_is_missing_below_an_emulated_host(tmp_path: Path) -> None:
    nothing = Facts(
        cores=2,
        memory_bytes=1 << 40,
        memory_available_bytes=1 << 40,
        disk_path="/",
        disk_free_bytes=1 << 50,
        acceleration=AccelerationFact(Acceleration.TCG, proved=True, reason=""),
        libvirt=(),
        missing_tools=frozenset(),
        systemd=False,
        root=True,
    )
    plan = make_plan(topology(tmp_path, "hv: {kind: hyperv, emulated: true}"), nothing)
    assert plan.hosts == {"local": "hyperv (emulated, over qemu:///system)"}
    assert [lack.what for lack in plan.lacks] == ["libvirt does not answer at qemu:///system"]
    assert make_plan(topology(tmp_path, REAL), nothing).runnable


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("{kind: hyperv}", "either 'emulated: true' or an 'endpoint'"),
        ('{kind: hyperv, emulated: true, endpoint: "https://x"}', "either 'emulated: true' or an 'endpoint'"),
        ('{kind: hyperv, endpoint: "https://x"}', "needs 'certificate', 'exchange', 'password'"),
        ('{kind: hyperv, endpoint: "http://x"}', "endpoint"),
        ('{kind: hyperv, endpoint: "https://user:secret@x"}', "endpoint"),
        (REAL.partition(": ")[2].replace("{env: HV_WORD}", "secret"), "a secret is given by reference"),
        (REAL.partition(": ")[2].replace("{env: HV_WORD}", "{generate: true}"), "nobody can make it up"),
        ("{kind: hyperv, emulated: true, login: credssp}", "login"),
        ("{kind: hyper, emulated: true}", "hyperv"),
    ],
)
def test_a_host_that_says_too_little_or_too_much_is_refused(tmp_path: Path, host: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        topology(tmp_path, f"hv: {host}")


def test_a_lab_has_one_managed_host_at_most(tmp_path: Path) -> None:
    emulated = "local: {kind: hyperv, emulated: true}"
    with pytest.raises(BadInput, match="there are: local, other"):
        hyperv_host_of(topology(tmp_path, f"{emulated}\n  other: {{kind: hyperv, emulated: true}}"))
    with pytest.raises(BadInput, match="not both"):
        hyperv_host_of(topology(tmp_path, f"{emulated}\n  other: {{kind: esxi, emulated: true}}"))
    uris = "\n".join(f'  l{number}: {{kind: libvirt, uri: "qemu+ssh://h{number}/system"}}' for number in range(2))
    with pytest.raises(BadInput, match="one libvirt host at most"):
        hyperv_host_of(topology(tmp_path, f"{emulated}\n{uris}"))


def test_the_password_of_a_real_host_is_where_the_topology_says_and_nowhere_else(
    tmp_path: Path, folder: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = topology(tmp_path, REAL)
    host = hyperv_host_of(found)
    assert host is not None
    monkeypatch.delenv("HV_WORD", raising=False)
    with pytest.raises(LabError, match="HV_WORD"):
        access_to(host, found, folder, "tcg")
    monkeypatch.setenv("HV_WORD", "open sesame")
    with pytest.raises(LabError, match="is not mounted at"):
        access_to(host, found, folder, "tcg")
    (tmp_path / "share").mkdir()
    access = access_to(host, found, folder, "tcg")
    assert (access.host, access.port, access.certificate) == ("hv1", 5987, tmp_path / "hv1.pem")
    assert "open sesame" not in access.model_dump_json()


def started(folder: LabFolder) -> HypervAccess:
    nothing = Topology.model_construct(hosts={})
    return access_to(HypervHost(kind="hyperv", emulated=True), nothing, folder, "memory")


def state_of(access: HypervAccess, **changes: object) -> LabState:
    return LabState(
        lab="lab1",
        topology=Path("/t"),
        topology_digest="d",
        host_uris=(),
        acceleration="tcg",
        phase=Phase.UP,
        host_keys={"app": "", "mt1": ""},
        hyperv=access,
        **changes,  # type: ignore[arg-type]
    )


def test_an_emulated_host_comes_and_goes_with_its_lab(home: Home, folder: LabFolder) -> None:
    access = started(folder)
    state = state_of(access)
    assert LabState.model_validate_json(state.model_dump_json()) == state
    host = open_hypervisor(state, home)
    assert isinstance(host, HypervHypervisor)
    host.define(MachineSpec("m1", 1, 64, (), (), None))
    host.close()
    assert access.password_file is not None
    assert access.password_file.stat().st_mode & 0o777 == 0o600
    assert (folder.path / "hyperv" / "exchange").stat().st_mode & 0o777 == 0o700
    assert processes.end_all(folder) == ["process emulated-hyperv"]
    assert remove_emulated(folder, "", home.labs) == ["files of the emulated Hyper-V host"]
    assert not (folder.path / "hyperv").exists()
    assert remove_emulated(folder, "", home.labs) == []


def test_an_emulated_host_that_was_killed_is_reaped(home: Home, folder: LabFolder) -> None:
    access = started(folder)
    [process] = processes.recorded(folder)
    os.kill(process.pid, signal.SIGKILL)
    processes.end_all(folder)
    with pytest.raises(Exception, match="does not answer"):
        open_hyperv(access, folder.name, home.labs)
    assert remove_emulated(folder, "", home.labs) == ["files of the emulated Hyper-V host"]


def test_an_emulated_host_that_does_not_start_says_why(folder: LabFolder) -> None:
    (folder.path / "hyperv" / "lock").mkdir(parents=True)
    with pytest.raises(LabError, match=r"did not start.*lock"):
        started(folder)
    processes.end_all(folder)


def test_a_machine_is_made_where_its_site_is(tmp_path: Path) -> None:
    access = HypervAccess(host="h", port=1, user="u", login="ntlm", certificate=tmp_path, exchange=tmp_path)
    place = place_of(state_of(access, on_libvirt=("mt1",)))
    assert [place(name) for name in ("app", "app-system", "mt1", "newcomer")] == ["hyperv", "hyperv", "libvirt", None]
