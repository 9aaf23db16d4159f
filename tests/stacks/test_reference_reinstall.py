"""Another build over an installed one: every service of every server, in order, and nothing where agents are."""

import tarfile
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.errors import LabError
from lab.provision.home import Home
from lab.stacks.reference import reinstall as module
from lab.stacks.reference.reinstall import reinstall
from lab.topology.load import load_topology

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
UNIT = "/etc/systemd/system/recovery-{}.service"


@dataclass
class Machine:
    """A server's machine that keeps files and is told commands."""

    name: str
    kinds: tuple[str, ...]
    order: list[str]
    files: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)

    @property
    def ssh(self) -> "Machine":
        return self

    def put(self, content: bytes, path: str, *, mode: int = 0o644) -> None:
        self.files[path], self.modes[path] = content, mode

    def check(self, *argv: str, seconds: float = 1) -> str:
        if argv[0] == "find":
            return "\n".join(UNIT.format(kind) for kind in self.kinds)
        if "lab.replication.install" in argv:
            assert "--passphrase-file" not in argv, "nothing is registered again"
            self.order.append(f"{self.name} {argv[argv.index('--kind') + 1]}")
        return ""


class Steps:
    def step(self, subject: str, step: str) -> None:
        pass


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    folder = Home(tmp_path / "home").lab("lab1")
    folder.make()
    order: list[str] = []
    machines = {
        "mt1": Machine("mt1", ("master-target", "configuration-server"), order),
        "ps1": Machine("ps1", ("master-target", "process-server"), order),
    }
    monkeypatch.setattr(module, "wait_configuration_server", lambda machine, _: order.append(f"{machine.name} answers"))
    embedded = load_topology(TOPOLOGIES / "embedded.yaml")
    return SimpleNamespace(topology=embedded, folder=folder, machine=machines.__getitem__, order=order)


def test_the_configuration_server_comes_first_and_every_service_gets_the_build(lab: SimpleNamespace) -> None:
    reinstall(lab, Steps())  # type: ignore[arg-type]
    assert lab.order == [
        "mt1 configuration-server", "mt1 master-target", "mt1 answers", "ps1 process-server", "ps1 master-target",
    ]  # fmt: skip
    pushed = "/etc/recovery/push/package.tar.gz"
    package = (lab.folder.stack / "package.tar.gz").read_bytes()
    assert lab.machine("ps1").files[pushed] == package, "what is pushed later is this build too"
    assert lab.machine("ps1").modes[pushed] == 0o600
    assert pushed not in lab.machine("mt1").files
    with tarfile.open(fileobj=BytesIO(package)) as archive:
        assert "lab/replication/install.py" in archive.getnames()


def test_a_machine_that_is_no_server_is_left_alone(lab: SimpleNamespace) -> None:
    lab.machine("mt1").kinds = ("mobility",)
    with pytest.raises(LabError, match="mt1 has mobility: not a server to renew"):
        reinstall(lab, Steps())  # type: ignore[arg-type]
    assert lab.order == []


def test_a_stack_with_a_vault_is_refused_before_anything_is_done(lab: SimpleNamespace) -> None:
    lab.topology = load_topology(TOPOLOGIES / "vmware-to-azure.yaml")
    with pytest.raises(LabError, match="servers and agents"):
        reinstall(lab, Steps())  # type: ignore[arg-type]
    assert lab.order == []
