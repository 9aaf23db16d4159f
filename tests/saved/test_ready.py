"""From no lab to a saved one, to one that goes on from it; over machines that only remember."""

import datetime as dt
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from saved_labs import Steps

from lab.errors import BadInput, LabError
from lab.hypervisors.memory import MemoryHypervisor
from lab.hypervisors.model import Disk, DiskId, PowerState
from lab.hypervisors.protocols import HypervisorError
from lab.provision.blueprint import blueprint
from lab.provision.home import Home
from lab.provision.lab import Lab
from lab.provision.state import LabState, Phase, load_state, save_state
from lab.provision.up import first_state
from lab.saved import go_on, ready, renew, take
from lab.saved.ready import deployed_and_saved, make_ready, save_new, used_keys
from lab.saved.renew import make_renewed
from lab.saved.store import SavedLabs
from lab.stacks.adapters import ADAPTERS
from lab.topology.model import Topology

FAR = dt.datetime(2126, 1, 1, tzinfo=dt.UTC)


@dataclass
class World:
    """A computer on which labs are made of machines that only remember; it knows what was done."""

    topology: Topology
    home: Home
    inputs: dict[str, str] = field(default_factory=lambda: {"stack": "1"})
    hosts: dict[str, MemoryHypervisor] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    expires: dt.datetime = FAR
    clock_fails: bool = False

    def host(self, state: LabState, home: Home) -> MemoryHypervisor:
        return self.hosts.setdefault(state.lab, MemoryHypervisor())

    def bring_up(self, topology: Topology, home: Home, name: str, board: Steps, *, save_as: str = "") -> Lab:
        self.done.append(f"boot {name}")
        folder = home.lab(name)
        folder.make()
        (folder.seeds / "app1.iso").write_bytes(b"seed")
        state = first_state(topology, name, "tcg", {"app1": "key"})
        state = state.model_copy(update={"phase": Phase.UP, "save_as": save_as})
        save_state(folder, state)
        host = self.host(state, home)
        for machine in topology.machines:
            plan = blueprint(topology, machine)
            for disk, size in plan.disk_sizes.items():
                host.create_disk(disk, size)
            host.define(replace(plan.spec, saveable=bool(save_as)))
            host.power_on(machine)
        return Lab(topology, folder, state, host)

    @contextmanager
    def deployed(self, lab: Lab, board: Steps) -> Iterator[SimpleNamespace]:
        if not (lab.folder.stack / "installed").exists():
            self.done.append(f"install {lab.folder.name}")
            (lab.folder.stack / "installed").write_text("yes")
        servers = {"process-server-ps1", "master-target-ps1", "master-target-mt1"}
        yield SimpleNamespace(components=lambda: [SimpleNamespace(id=name) for name in servers], machines=list)

    def tear_down(self, home: Home, name: str, board: Steps) -> list[str]:
        import shutil

        self.done.append(f"remove {name}")
        self.hosts.pop(name, None)
        shutil.rmtree(home.lab(name).path)
        return []

    def resume(self, lab: Lab, board: Steps) -> Callable[[], None]:
        def finish() -> None:
            assert powers(lab) == {PowerState.ON}
            assert len(lab.hypervisor.machines()) == len(self.topology.machines)
            self.done.append(f"resume {lab.folder.name}")

        return finish

    def wake(self, lab: Lab, name: str) -> float:
        if self.clock_fails:
            raise LabError("no login")
        assert lab.hypervisor.power(name) is PowerState.ON
        return 1.0

    def certificates(self, lab: Lab, name: str) -> list[x509.Certificate]:
        return [SimpleNamespace(not_valid_after_utc=self.expires)]  # type: ignore[list-item]


@pytest.fixture
def world(embedded: Topology, home: Home, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(embedded, home)
    for module, name, value in (
        (ready, "bring_up", made.bring_up),
        (ready, "deployed", made.deployed),
        (ready, "tear_down", made.tear_down),
        (ready, "present_inputs", lambda *_: made.inputs),
        (go_on, "open_hypervisor", made.host),
        (go_on, "wake_when_ready", made.wake),
        (take, "wake_when_ready", made.wake),
        (take, "_certificates", made.certificates),
    ):
        monkeypatch.setattr(module, name, value)
    change_adapter(monkeypatch, resume=made.resume)
    return made


def change_adapter(monkeypatch: pytest.MonkeyPatch, **how) -> None:
    monkeypatch.setitem(ADAPTERS, "reference", replace(ADAPTERS["reference"], **how))


def up(world: World, name: str, board: Steps, *, fresh: bool = False) -> Lab:
    """What ``lab up`` does."""
    lab = make_ready(world.topology, world.home, name, board, fresh=fresh)
    if lab.state.save_as:
        with deployed_and_saved(lab, world.home, board):
            pass
    return lab


def powers(lab: Lab) -> set[PowerState]:
    return {machine.power for machine in lab.hypervisor.machines()}


def test_the_first_lab_is_booted_and_saved_and_others_go_on_from_it(world: World, board: Steps) -> None:
    first = up(world, "one", board)
    assert world.done == ["boot one", "install one"]
    assert powers(first) == {PowerState.ON}
    assert len(SavedLabs(world.home.saved).all()) == 1
    world.done.clear()
    for name in ("two", "three"):
        lab = up(world, name, board)
        assert powers(lab) == {PowerState.ON}
        assert {machine.name for machine in lab.hypervisor.machines()} == set(world.topology.machines)
        assert (lab.folder.stack / "installed").exists()
        assert (lab.folder.seeds / "app1.iso").read_bytes() == b"seed"
        assert lab.state.phase is Phase.UP
        assert lab.state.host_keys == {"app1": "key"}
        assert load_state(lab.folder) == lab.state
    assert world.done == ["resume two", "resume three"]
    key = SavedLabs(world.home.saved).all()[0].saved.key
    assert used_keys(world.home) == {key}
    assert {state.went_on.key for state in (lab.state,) if state.went_on} == {key}


def test_what_machines_have_in_common_is_made_by_one_thread(
    world: World, board: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads made the pool of disks at once, and libvirt refused the second."""
    up(world, "one", board)
    threads: list[threading.Thread] = []
    make = MemoryHypervisor.import_disk

    def noted(host: MemoryHypervisor, disk: DiskId, image: Path, size_bytes: int) -> Disk:
        threads.append(threading.current_thread())
        return make(host, disk, image, size_bytes)

    monkeypatch.setattr(MemoryHypervisor, "import_disk", noted)
    up(world, "two", board)
    assert len(threads) == sum(len(machine.disks) for machine in world.topology.machines.values())
    assert set(threads) == {threading.current_thread()}


def test_secrets_are_for_their_owner_only(world: World, board: Steps) -> None:
    lab = up(world, "one", board)
    (entry,) = SavedLabs(world.home.saved).all()
    assert (entry.folder / "lab").stat().st_mode & 0o777 == 0o700
    other = up(world, "two", board)
    for folder in (other.folder.stack, other.folder.login_key.parent):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert lab.folder.path != other.folder.path


def test_fresh_boots_and_saves_nothing(world: World, board: Steps) -> None:
    up(world, "one", board)
    lab = up(world, "two", board, fresh=True)
    assert world.done == ["boot one", "install one", "boot two"]
    assert lab.state.save_as == ""
    assert len(SavedLabs(world.home.saved).all()) == 1


@pytest.mark.parametrize("what", ["input", "damage", "expiry"])
def test_a_saved_lab_that_is_of_no_use_is_rebuilt(
    world: World, board: Steps, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "expiry":
        world.expires = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    up(world, "one", board)
    world.expires = FAR
    (entry,) = SavedLabs(world.home.saved).all()
    if what == "input":
        world.inputs = {"stack": "2"}
    elif what == "damage":
        os.utime(entry.folder / "machines" / "app1.state", ns=(1, 1))
    world.done.clear()
    up(world, "two", board)
    assert world.done == ["boot two", "install two"]
    up(world, "three", board)
    assert world.done[2:] == ["resume three"]


def test_one_that_does_not_go_on_is_removed_and_the_lab_booted(world: World, board: Steps) -> None:
    up(world, "one", board)
    world.clock_fails = True
    make_ready(world.topology, world.home, "two", board, fresh=False)
    assert world.done[2:] == ["remove two", "boot two"]
    assert SavedLabs(world.home.saved).all() == []
    assert any("no login; booting instead" in step for _, step in board.seen)


def test_a_lab_runs_on_when_it_cannot_be_saved(world: World, board: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise HypervisorError("no space left")

    monkeypatch.setattr(take, "_write_machine", broken)
    lab = up(world, "one", board)
    assert powers(lab) == {PowerState.ON}
    assert lab.state.save_as == ""
    assert [step for _, step in board.seen if "no space left" in step]
    assert sorted(path.name for path in world.home.saved.iterdir()) == ["lock"]


def test_inputs_that_change_meanwhile_keep_it_from_being_saved(world: World, board: Steps) -> None:
    lab = make_ready(world.topology, world.home, "one", board, fresh=False)
    world.inputs = {"stack": "2"}
    with deployed_and_saved(lab, world.home, board):
        pass
    assert SavedLabs(world.home.saved).all() == []


def test_only_a_lab_that_nothing_was_done_on_is_saved(world: World, board: Steps) -> None:
    lab = make_ready(world.topology, world.home, "one", board, fresh=False)
    key = save_new(lab, world.home, board)
    assert SavedLabs(world.home.saved).lookup(key) is not None
    with pytest.raises(LabError, match="was installed before"):
        save_new(lab, world.home, board)
    going_on = make_ready(world.topology, world.home, "two", board, fresh=False)
    with pytest.raises(LabError, match="cannot be saved"):
        save_new(going_on, world.home, board)


def test_the_bound_removes_others_and_not_what_is_in_use(
    world: World, board: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ready.LIMIT_VARIABLE, "0")
    first = up(world, "one", board)
    up(world, "two", board)
    world.inputs = {"stack": "2"}
    up(world, "three", board)
    store = SavedLabs(world.home.saved)
    assert len(store.all()) == 2
    for name in ("one", "two"):
        world.tear_down(world.home, name, board)
    world.inputs = {"stack": "3"}
    up(world, "four", board)
    assert len(store.all()) == 1
    assert first.state.went_on is None


@pytest.mark.parametrize("text", ["lots", "-1", "nan", "inf"])
def test_a_wrong_bound_is_refused_before_anything_is_made(
    world: World, board: Steps, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(ready.LIMIT_VARIABLE, text)
    with pytest.raises(BadInput, match=ready.LIMIT_VARIABLE):
        up(world, "one", board)
    assert world.done == []


def test_nothing_of_a_saved_lab_is_written(world: World, board: Steps) -> None:
    up(world, "one", board)
    (entry,) = SavedLabs(world.home.saved).all()
    up(world, "two", board)
    assert entry.verify() == []


def test_a_lab_of_this_name_that_is_up_is_refused(world: World, board: Steps) -> None:
    up(world, "one", board)
    with pytest.raises(LabError, match="up already"):
        make_ready(world.topology, world.home, "one", board, fresh=False)
    assert Path(world.home.lab("one").path).exists()


@pytest.fixture
def renewing(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(renew, "present_inputs", lambda *_: world.inputs)
    monkeypatch.setattr(renew, "bring_up", world.bring_up)
    change_adapter(monkeypatch, reinstall=lambda lab, _: world.done.append(f"renew {lab.folder.name}"))
    return world


def test_another_build_goes_over_a_saved_lab_and_is_not_saved(renewing: World, board: Steps) -> None:
    world = renewing
    up(world, "one", board)
    world.done.clear()
    world.inputs = {"stack": "2"}
    lab = make_renewed(world.topology, world.home, "two", board)
    assert world.done == ["resume two", "renew two"]
    assert lab.state.went_on is not None
    assert lab.state.went_on.renewed == "1"
    assert load_state(lab.folder) == lab.state
    assert (lab.state.save_as, len(SavedLabs(world.home.saved).all())) == ("", 1)
    world.done.clear()
    world.inputs = {"stack": "1"}
    same = make_renewed(world.topology, world.home, "three", board)
    assert world.done == ["resume three"], "the same build needs no installation"
    assert same.state.went_on is not None
    assert same.state.went_on.renewed == ""


def test_a_saved_lab_that_differs_in_more_is_not_renewed(renewing: World, board: Steps) -> None:
    world = renewing
    up(world, "one", board)
    world.done.clear()
    world.inputs = {"stack": "2", "images": "other"}
    lab = make_renewed(world.topology, world.home, "two", board)
    assert world.done == ["boot two"]
    assert lab.state.save_as == "", "a stack that is used once is not saved"


def test_a_build_that_cannot_be_installed_over_another_is_an_error(
    renewing: World, board: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(lab: Lab, board: Steps) -> None:
        raise LabError("ps1: the installer said no")

    up(renewing, "one", board)
    renewing.inputs = {"stack": "2"}
    change_adapter(monkeypatch, reinstall=fails)
    with pytest.raises(LabError, match="the installer said no"):
        make_renewed(renewing.topology, renewing.home, "two", board)
