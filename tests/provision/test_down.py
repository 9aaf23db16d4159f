"""Taking down and reaping: idempotent, by tag, and never a lab that is up."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.hypervisors.protocols import HypervisorError
from lab.provision import down, up
from lab.provision.down import tear_down
from lab.provision.home import Home, LabFolder
from lab.provision.state import LabState, Phase, save_state


@dataclass
class Steps:
    """A board that remembers."""

    seen: list[tuple[str, str]] = field(default_factory=list)

    def step(self, subject: str, step: str) -> None:
        self.seen.append((subject, step))


@dataclass
class Host:
    """A hypervisor from which only everything can be removed."""

    objects: list[str]
    uris: list[str] = field(default_factory=list)
    refusal: str = ""

    def connect(self, uri: str, lab: str, store: Path, acceleration: str) -> "Host":
        self.uris.append(uri)
        return self

    def remove_all(self) -> list[str]:
        if self.refusal:
            raise HypervisorError(self.refusal)
        removed, self.objects = self.objects, []
        return removed

    def close(self) -> None:
        pass


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(["machine m1"])
    monkeypatch.setattr(down, "connect", made.connect)
    return made


def state(phase: Phase, uri: str = "qemu:///session") -> LabState:
    return LabState(
        lab="lab1",
        topology=Path("/x.yaml"),
        topology_digest="",
        host_uris=(uri,),
        acceleration="tcg",
        phase=phase,
        host_keys={},
    )


def test_a_lab_is_removed_with_its_folder_and_removing_again_does_no_harm(
    home: Home, folder: LabFolder, host: Host
) -> None:
    save_state(folder, state(Phase.UP))
    board = Steps()
    assert tear_down(home, "lab1", board) == ["machine m1"]
    assert not folder.path.exists()
    assert board.seen == [("lab1", "removing"), ("lab1", "removed")]
    assert tear_down(home, "lab1", board) == []
    assert host.uris == ["qemu:///session", "qemu:///system"]


def test_a_damaged_state_does_not_stop_it(home: Home, folder: LabFolder, host: Host) -> None:
    folder.state.write_text("{")
    assert tear_down(home, "lab1", Steps()) == ["machine m1"]
    assert host.uris == ["qemu:///system"]
    assert not folder.path.exists()


def test_what_cannot_be_removed_is_said_and_remembered(home: Home, folder: LabFolder, host: Host) -> None:
    save_state(folder, state(Phase.UP))
    host.refusal = "libvirt does not answer"
    with pytest.raises(LabError, match="lab lab1 is not all gone: libvirt does not answer"):
        tear_down(home, "lab1", Steps())
    assert folder.state.exists()
    host.refusal = ""
    assert tear_down(home, "lab1", Steps()) == ["machine m1"]


@pytest.mark.qemu
@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="qemu-system-x86_64 is not installed")
def test_nothing_is_removed_from_a_real_host_when_there_is_nothing(home: Home) -> None:
    name = f"never-{os.getpid()}"
    for _ in range(2):
        try:
            assert tear_down(home, name, Steps()) == []
        except LabError as error:
            if "does not answer" not in str(error):
                raise
            pytest.skip(str(error))
    assert not home.lab(name).path.exists()


def test_a_lab_that_is_up_is_refused(home: Home, folder: LabFolder, host: Host) -> None:
    save_state(folder, state(Phase.UP))
    with pytest.raises(LabError, match="lab lab1 is up already") as caught:
        up.refuse_or_reap(home, folder, Steps())
    assert caught.value.hint == "lab down lab1, or another --name"
    assert folder.state.exists()
    assert host.objects == ["machine m1"]


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.STOPPING, None])
def test_a_lab_that_was_left_half_made_is_reaped(
    home: Home, folder: LabFolder, host: Host, phase: Phase | None
) -> None:
    if phase is not None:
        save_state(folder, state(phase))
    board = Steps()
    up.refuse_or_reap(home, folder, board)
    assert not folder.path.exists()
    assert host.objects == []
    assert board.seen[0] == ("lab1", "reaping what an earlier run left behind")


def test_where_nothing_is_nothing_is_reaped(home: Home, host: Host) -> None:
    board = Steps()
    up.refuse_or_reap(home, home.lab("lab1"), board)
    assert board.seen == []
    assert host.uris == []


def test_a_damaged_state_is_not_taken_for_a_half_made_lab(home: Home, folder: LabFolder, host: Host) -> None:
    """It may be up: whoever asked has to say ``lab down``."""
    folder.state.write_text("{")
    with pytest.raises(LabError, match="damaged"):
        up.refuse_or_reap(home, folder, Steps())
    assert host.objects == ["machine m1"]
