"""Taking a lent machine: refused before anything is changed on it; and the drift that is reported.

Commands run in a real shell on this machine; the refusal of a host key is over a real login.

The whole way, with a stack on the machine, is ``topologies/lent.yaml`` (decision 0016).
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from sshd_server import Server

from lab.errors import LabError
from lab.images.identity import new_ssh_key
from lab.machines.lease_file import Leased, LeaseFile, LeaseLost
from lab.machines.ssh import ConnectionLost, Result, WrongHostKey
from lab.provision import lent
from lab.provision.home import LabFolder
from lab.provision.lease_keeper import renew_all_lent
from lab.provision.state import LabState, LentAccess, Phase, load_state
from lab.topology.load import load_topology
from lab.topology.model import Topology

LENT = Path(__file__).parents[2] / "topologies" / "lent.yaml"


@dataclass
class Told:
    steps: list[str] = field(default_factory=list)

    def step(self, subject: str, step: str) -> None:
        self.steps.append(f"{subject}: {step}")


class LocalShell:
    """What is needed of a login, without one."""

    def run(self, *argv: str, stdin: str | None = None, seconds: float = 60.0) -> Result:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=seconds)
        return Result(done.returncode, done.stdout, done.stderr)

    def check(self, *argv: str, stdin: str | None = None, seconds: float = 60.0) -> str:
        done = self.run(*argv, stdin=stdin, seconds=seconds)
        assert done.ok, done.stderr
        return done.stdout

    def put(self, content: bytes, path: str, *, mode: int = 0o644) -> None:
        Path(path).write_bytes(content)
        Path(path).chmod(mode)


@contextmanager
def local(_name: str, _access: LentAccess) -> Iterator[LocalShell]:
    yield LocalShell()


@pytest.fixture
def at_hand(monkeypatch: pytest.MonkeyPatch) -> LocalShell:
    """The lent machine is reached without a login: a command over one takes long on a busy machine."""
    monkeypatch.setattr(lent, "_logged_in", local)
    return LocalShell()


@pytest.fixture
def folder(tmp_path: Path) -> LabFolder:
    found = LabFolder("one", tmp_path / "labs" / "one")
    found.path.parent.mkdir()
    found.make()
    for name in ("login", "push"):
        (found.login_key.parent / f"{name}.pub").write_text(f"ssh-ed25519 AAAA{name} lab\n")
    return found


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lent machine is this one here: its lease and keys are elsewhere than on a machine of its own."""
    monkeypatch.setattr(lent, "LEASE", str(tmp_path / "machine" / "lease.json"))
    monkeypatch.setattr(lent, "AUTHORIZED", str(tmp_path / "machine" / "ssh" / "authorized_keys"))
    monkeypatch.setattr(lent, "take_off", lambda _shell: None)
    monkeypatch.setattr(lent, "spawn", lambda *_: None)
    return tmp_path / "machine"


def topology(server: Server, tmp_path: Path, host_key: str = "") -> Topology:
    document = yaml.safe_load(LENT.read_text())
    document["machines"]["app1"]["provision"] = {
        "kind": "existing", "address": server.endpoint.host, "port": server.endpoint.port,
        "key": {"file": str(server.login.private_key)},
        "host_key": " ".join((host_key or server.login.host_key).split()[:2]),
    }  # fmt: skip
    path = tmp_path / "lent.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_topology(path)


def first_state() -> LabState:
    return LabState(
        lab="one", topology=LENT, topology_digest="", host_uris=(), acceleration="tcg", phase=Phase.UP, host_keys={}
    )


def test_another_host_key_is_refused(server: Server, folder: LabFolder, tmp_path: Path, places: Path) -> None:
    replaced = topology(server, tmp_path, new_ssh_key("other").public)
    with pytest.raises(WrongHostKey, match=r"app1: the host key at .* is not the known one"):
        lent.take_lent(replaced, folder, first_state(), Told())
    assert not places.exists()


@pytest.mark.parametrize(("broken", "message"), [("", "works with this machine"), ("no disk", "left this .* broken")])
def test_a_foreign_lease_and_a_broken_machine_are_refused(
    *, at_hand: LocalShell, folder: LabFolder, tmp_path: Path, places: Path, broken: str, message: str
) -> None:
    other = LeaseFile(at_hand, lent.LEASE)
    other.acquire("another", 600)
    if broken:
        other.mark_broken(broken)
    before = (places / "lease.json").read_bytes()
    with pytest.raises(Leased, match=message):
        lent.take_lent(load_topology(LENT), folder, first_state(), Told())
    assert (places / "lease.json").read_bytes() == before
    assert not (places / "ssh").exists(), "nobody of us was let in"
    state = load_state(folder)
    assert state is not None
    assert lent.give_back_lent(folder, state, tmp_path / "reports", Told()) == [], "the lease is not ours"
    assert (places / "lease.json").read_bytes() == before


@pytest.fixture
def quick_look(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """What a look at the machine finds, to be changed by a test; the real one takes long on a busy machine."""
    found = {("file", "/etc/hosts"): "aa"}
    monkeypatch.setattr(lent, "look", lambda _shell: dict(found))
    return found


@pytest.mark.parametrize("before", [None, "", "ssh-rsa AAAA owner", "ssh-rsa AAAA owner\n"])
def test_a_machine_is_given_back_as_it_was(
    *, at_hand: LocalShell, folder: LabFolder, tmp_path: Path, places: Path, quick_look: object, before: str | None
) -> None:
    keys = places / "ssh" / "authorized_keys"
    if before is not None:
        keys.parent.mkdir(parents=True)
        keys.write_text(before)
        keys.chmod(0o640)
    state = lent.take_lent(load_topology(LENT), folder, first_state(), Told())
    assert {"ssh-ed25519 AAAAlogin lab", "ssh-ed25519 AAAApush lab"} <= set(keys.read_text().splitlines())
    assert (before or "").strip() in keys.read_text().splitlines()
    told = Told()
    assert lent.give_back_lent(folder, state, tmp_path / "reports", told) == ["lease on app1"]
    assert lent.drift_report(tmp_path / "reports", "app1").read_text() == "nothing\n"
    assert "app1: as it was found" in told.steps
    assert (keys.read_text() if keys.exists() else None) == before
    assert before is None or keys.stat().st_mode & 0o777 == 0o640
    assert not (places / "lease.json").exists()
    assert lent.give_back_lent(folder, state, tmp_path / "reports", told) == [], "a second time there is nothing to do"


def test_keys_that_somebody_adds_meanwhile_stay(
    at_hand: LocalShell, folder: LabFolder, tmp_path: Path, places: Path, quick_look: object
) -> None:
    state = lent.take_lent(load_topology(LENT), folder, first_state(), Told())
    keys = places / "ssh" / "authorized_keys"
    keys.write_text(keys.read_text() + "ssh-rsa BBBB colleague\n")
    lent.give_back_lent(folder, state, tmp_path / "reports", Told())
    assert keys.read_text().strip() == "ssh-rsa BBBB colleague"


def test_what_is_not_as_it_was_is_reported_and_the_machine_marked(
    at_hand: LocalShell, folder: LabFolder, tmp_path: Path, quick_look: dict[tuple[str, str], str]
) -> None:
    state = lent.take_lent(load_topology(LENT), folder, first_state(), Told())
    quick_look["file", "/etc/hosts"] = "bb"
    lent.give_back_lent(folder, state, tmp_path / "reports", Told())
    assert lent.drift_report(tmp_path / "reports", "app1").read_text() == "file /etc/hosts: changed\n"
    with pytest.raises(Leased, match="one left this machine broken: 1 things are not as they were found: file /etc/h"):
        LeaseFile(at_hand, lent.LEASE).acquire("next", 60)


def test_a_machine_that_does_not_answer_keeps_its_lab(
    at_hand: LocalShell, folder: LabFolder, tmp_path: Path, quick_look: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = lent.take_lent(load_topology(LENT), folder, first_state(), Told())

    def gone(_shell: LocalShell) -> None:
        raise ConnectionLost("app1 is gone")

    with monkeypatch.context() as patch:
        patch.setattr(lent, "take_off", gone)
        with pytest.raises(LabError, match="app1: app1 is gone"):
            lent.give_back_lent(folder, state, tmp_path / "reports", Told())
    assert lent.give_back_lent(folder, state, tmp_path / "reports", Told()) == ["lease on app1"]


def test_an_owners_key_that_is_gone_is_said(folder: LabFolder, tmp_path: Path) -> None:
    access = LentAccess(ssh_host="127.0.0.1", ssh_port=1, key=tmp_path / "missing", host_key="ssh-rsa AAAA", lease="aa")
    with pytest.raises(LabError, match=r"machine app1 is lent, and its key .*missing is not there"):
        lent.renew_lent("app1", access)


def test_its_lease_is_kept_as_long_as_it_is_ours(
    at_hand: LocalShell, folder: LabFolder, tmp_path: Path, quick_look: object
) -> None:
    state = lent.take_lent(load_topology(LENT), folder, first_state(), Told())
    assert renew_all_lent(state.lent) == state.lent
    other: dict[str, LentAccess] = {"app1": state.lent["app1"].model_copy(update={"lease": "ffff"})}
    assert renew_all_lent(other) == {}
    with pytest.raises(LeaseLost):
        lent.renew_lent("app1", other["app1"])


def test_nobody_here_switches_it(server: Server, folder: LabFolder) -> None:
    access = LentAccess(
        ssh_host=server.endpoint.host, ssh_port=server.endpoint.port, key=server.login.private_key,
        host_key=server.login.host_key, lease="aa",
    )  # fmt: skip
    control = lent.LentControl("app1", access, folder)
    assert control.power().value == "on"
    for refused in (control.power_on, control.power_off):
        with pytest.raises(LabError, match="app1 is only lent: nobody here switches it"):
            refused()
    assert not control.console.exists()
