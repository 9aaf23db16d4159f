"""The driver of a host that is a machine: what needs none. With machines it is run by labs (decision 0019)."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import libvirt
import pytest

from lab.errors import LabError
from lab.hypervisors.libvirt.xml import domain_name
from lab.hypervisors.model import DiskId, Endpoint, MachineSpec, Management, Nic
from lab.hypervisors.nested import Access, Inner, NestedHypervisor
from lab.hypervisors.nested.connection import ReopenedConnection
from lab.hypervisors.nested.driver import HostSession, HostStorage
from lab.hypervisors.nested.host import DISKS, HostBridges, HostFolders, bridge_name
from lab.hypervisors.nested.reach import uri_of, write_command
from lab.hypervisors.protocols import Conflict, NotFound, Unreachable

ACCESS = Access(
    name="hv1",
    endpoint=Endpoint("127.0.0.1", 21001),
    key=Path("/lab with blank/keys/login"),
    known_hosts=Path("/lab with blank/keys/known"),
    management="management",
    inner=(Inner("app1", 0),),
    ports={"app1": Endpoint("127.0.0.1", 21002)},
)


@dataclass
class Shell:
    """Remembers what was done on the host."""

    done: list[tuple[str, ...]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    away: bool = False

    def check(self, *argv: str, stdin: str | None = None) -> str:
        self.done.append(argv)
        return stdin or ""

    def put(self, content: bytes, path: str, *, mode: int = 0o644) -> None:
        self.files[path] = content
        self.done.append(("put", path, f"{mode:o}"))

    def get(self, path: str) -> bytes:
        if self.away:
            raise LabError("hv1: no answer")
        return self.files[path]


class Domain:
    def __init__(self, document: str) -> None:
        self.document = document

    def XMLDesc(self, _flags: int = 0) -> str:  # noqa: N802 - libvirt's name
        return self.document

    def name(self) -> str:
        return self.document.partition("<name>")[2].partition("</name>")[0]

    def isActive(self) -> bool:  # noqa: N802 - libvirt's name
        return False

    def state(self) -> tuple[int, int]:
        return libvirt.VIR_DOMAIN_SHUTOFF, 0

    def info(self) -> list[int]:
        return [5, 262144, 0, 1, 0]

    def metadata(self, *_: Any) -> str:
        raise libvirt.libvirtError("no metadata")


class Connection:
    """Domains by their names, nothing else."""

    def __init__(self, *names: str) -> None:
        self.domains = {name: Domain(f"<domain><name>{name}</name></domain>") for name in names}

    def lookupByName(self, name: str) -> Domain:  # noqa: N802 - libvirt's name
        if name in self.domains:
            return self.domains[name]
        error = libvirt.libvirtError("none")
        error.err = (libvirt.VIR_ERR_NO_DOMAIN, 0, "no domain", 0, "", None, None, 0, 0)
        raise error

    def listAllDomains(self) -> list[Domain]:  # noqa: N802 - libvirt's name
        return list(self.domains.values())

    def defineXML(self, document: str) -> Domain:  # noqa: N802 - libvirt's name
        domain = Domain(document)
        self.domains[domain.name()] = domain
        return domain


def driver(tmp_path: Path, connection: Connection, shell: Shell) -> NestedHypervisor:
    session = HostSession(connection, "nest")
    storage = HostStorage(session, DISKS, HostFolders(shell))
    places = (session, storage, HostBridges(), "kvm", Path("/var/lib/recovery-lab/consoles"))
    return NestedHypervisor(*places, access=ACCESS, shell=shell, fetched=tmp_path / "consoles")


def test_the_address_names_one_key_and_the_program_that_reaches_the_host() -> None:
    uri = uri_of(ACCESS, Path("/lab with blank/keys/reach-hv1"))
    assert uri.startswith("qemu+ssh://root@127.0.0.1:21001/system?")
    assert "keyfile=%2Flab%20with%20blank%2Fkeys%2Flogin&" in uri
    assert "command=%2Flab%20with%20blank%2Fkeys%2Freach-hv1" in uri
    assert "no_verify" not in uri


def test_the_program_that_reaches_a_host_accepts_one_host_key(tmp_path: Path) -> None:
    """Asked of ``ssh`` itself: what it makes of the options, in a folder with a blank."""
    folder = tmp_path / "lab with blank"
    folder.mkdir()
    program = write_command(replace(ACCESS, known_hosts=folder / "known hosts"))
    told = subprocess.run([program, "-G", "-p", "21001", "127.0.0.1"], check=True, capture_output=True, text=True)
    options = dict(line.split(" ", 1) for line in told.stdout.splitlines() if " " in line)
    assert options["userknownhostsfile"].strip('"') == str(folder / "known hosts")
    assert options["stricthostkeychecking"] in {"true", "yes"}
    assert int(options["serveraliveinterval"]) * int(options["serveralivecountmax"]) > 0, "a call may wait for ever"
    assert program.stat().st_mode & 0o077 == 0


def test_machines_of_the_stack_are_seen_by_their_own_names(tmp_path: Path) -> None:
    host = driver(tmp_path, Connection(domain_name("nest", "app1"), "app1-replica"), Shell())
    assert [machine.name for machine in host.machines()] == ["app1", "app1-replica"]
    assert host.endpoint("app1-replica") == host.endpoint("app1") == Endpoint("127.0.0.1", 21002)
    with pytest.raises(NotFound):
        host.endpoint("app1-test")


def test_a_machine_that_nothing_leads_to_has_no_endpoint(tmp_path: Path) -> None:
    host = driver(tmp_path, Connection("stranger"), Shell())
    with pytest.raises(Conflict):
        host.endpoint("stranger")


def test_a_definition_puts_every_card_on_a_bridge_and_the_seed_on_the_host(tmp_path: Path) -> None:
    seed = tmp_path / "app1.iso"
    seed.write_bytes(b"private")
    connection, shell = Connection(), Shell()
    spec = MachineSpec("app1", 1, 256, (), (Nic("primary", "52:54:00:00:00:02"),), Management("52:54:00:00:00:01"))
    machine = driver(tmp_path, connection, shell).define(replace(spec, seed=str(seed)))
    document = connection.domains[domain_name("nest", "app1")].document
    assert [nic.network for nic in machine.nics] == ["management", "primary"]
    for network in ("management", "primary"):
        assert f'bridge="{bridge_name(network)}"' in document
    assert "hostfwd" not in document
    assert 'type="kvm"' in document
    assert shell.files["/var/lib/recovery-lab/seeds/app1.iso"] == b"private"
    assert ("put", "/var/lib/recovery-lab/seeds/app1.iso", "600") in shell.done


def test_a_console_is_copied_and_the_last_copy_survives_its_host(tmp_path: Path) -> None:
    connection, shell = Connection(), Shell()
    connection.domains["app1-replica"] = Domain(
        "<domain><name>app1-replica</name><devices><serial><source path='/c/app1.log'/></serial></devices></domain>"
    )
    shell.files["/c/app1.log"] = b"login:"
    host = driver(tmp_path, connection, shell)
    assert host.console_log("app1-replica").read_bytes() == b"login:"
    shell.away = True
    assert host.console_log("app1-replica").read_bytes() == b"login:"
    (tmp_path / "consoles" / "app1-replica.log").unlink()
    with pytest.raises(NotFound):
        host.console_log("app1-replica")


def test_disks_of_a_host_are_qcow2(tmp_path: Path) -> None:
    host = driver(tmp_path, Connection(), Shell())
    assert host.storage.format(DiskId("any")) == "qcow2"


def test_what_a_machine_has_flushed_survives_a_cut_of_its_hosts_power(tmp_path: Path) -> None:
    assert driver(tmp_path, Connection(), Shell()).storage.flushed


class Live:
    def __init__(self) -> None:
        self.alive = True

    def isAlive(self) -> bool:  # noqa: N802 - libvirt's name
        return self.alive

    def close(self) -> None:
        self.alive = False


def test_a_connection_is_made_when_it_is_needed_and_again_when_it_is_gone() -> None:
    made: list[Live] = []

    def open_now() -> Live:
        made.append(Live())
        return made[-1]

    connection = ReopenedConnection("hv1", open_now)
    assert not made
    assert connection.alive
    assert connection.alive
    assert len(made) == 1
    made[0].alive = False
    assert connection.alive
    assert len(made) == 2
    connection.close()
    assert not made[1].alive


def test_a_host_that_is_away_says_so_instead_of_having_nothing() -> None:
    def open_now() -> Live:
        raise LabError("no route")

    with pytest.raises(Unreachable, match="hv1 does not answer: no route"):
        _ = ReopenedConnection("hv1", open_now).listAllDomains
