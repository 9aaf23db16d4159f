"""Fabrics of a lab that goes on from a saved one: at the ports that its configuration server knows, or it is told."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.provision.home import Home
from lab.stacks.reference import fabrics
from lab.stacks.reference.fabrics import free_port, resume_fabrics
from lab.topology.load import load_topology

EMBEDDED = load_topology(Path(__file__).parents[2] / "topologies" / "embedded.yaml")


@dataclass
class Machine:
    """A configuration server's machine that keeps files and is told commands."""

    name: str
    files: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    @property
    def ssh(self) -> "Machine":
        return self

    def get(self, path: str) -> bytes:
        return self.files[path]

    def put(self, content: bytes, path: str, *, mode: int = 0o644) -> None:
        self.files[path] = content
        self.modes[path] = mode

    def check(self, *argv: str, seconds: float = 1) -> str:
        self.told.append(" ".join(argv))
        return ""

    def run(self, *argv: str) -> SimpleNamespace:
        return SimpleNamespace(ok=True)


class Steps:
    def step(self, subject: str, step: str) -> None:
        pass


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    found: dict[str, int] = {}
    waited: list[str] = []
    monkeypatch.setattr(fabrics, "_begin", lambda lab, site, port: found.update({site: port}))

    def wait(lab: object, board: Steps, site: str, port: int, process: None) -> None:
        assert set(found) == set(EMBEDDED.sites), "all start before one is waited for"
        waited.append(site)

    monkeypatch.setattr(fabrics, "_wait", wait)
    yield found
    assert set(waited) == set(found), "all were waited for"


@pytest.fixture
def lab(tmp_path: Path) -> SimpleNamespace:
    folder = Home(tmp_path / "home").lab("lab1")
    folder.make()
    ports = {"primary": free_port(), "recovery": free_port()}
    for site, port in ports.items():
        (folder.stack / f"fabric-{site}").mkdir()
        (folder.stack / f"fabric-{site}" / "fabric.json").write_text(json.dumps({"listen": {"port": port}}))
    known = {"kind": "configuration-server", "fabrics": {site: {"port": port} for site, port in ports.items()}}
    machine = Machine("mt1", {"/etc/recovery/configuration-server.json": json.dumps(known).encode()})
    return SimpleNamespace(topology=EMBEDDED, folder=folder, machine=lambda name: machine, ports=ports)


def test_free_ports_are_used_again_and_nobody_is_told(lab: SimpleNamespace, started: dict[str, int]) -> None:
    resume_fabrics(lab, Steps())()  # type: ignore[arg-type]
    assert started == lab.ports
    assert lab.machine("mt1").told == []


def test_a_port_that_is_taken_is_replaced_and_the_server_told(lab: SimpleNamespace, started: dict[str, int]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", lab.ports["primary"]))
        other.listen()
        finish = resume_fabrics(lab, Steps())  # type: ignore[arg-type]
    assert lab.machine("mt1").told == [], "its machine may not run yet"
    finish()
    assert started["recovery"] == lab.ports["recovery"]
    assert started["primary"] != lab.ports["primary"]
    machine = lab.machine("mt1")
    path = "/etc/recovery/configuration-server.json"
    written = json.loads(machine.files[path])
    assert written["kind"] == "configuration-server"
    assert written["fabrics"] == {site: {"address": "10.0.2.2", "port": port} for site, port in started.items()}
    assert machine.modes[path] == 0o600
    assert machine.told == ["systemctl restart recovery-configuration-server.service"]
