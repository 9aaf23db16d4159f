import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import BadInput, LabError
from lab.home import VARIABLE
from lab.provision.home import Home, LabFolder
from lab.provision.lease import leased
from lab.provision.state import LabState, Phase, load_state, save_state

REFUSED = ["", ".", "..", "../x", "a/b", "/etc", "A", "a_b", "a.b", "a b", "-a", "a\n", "a" * 32, "é", "a\0"]


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_could_be_a_path_is_refused(home: Home, name: str) -> None:
    with pytest.raises(BadInput, match="no name for a lab"):
        home.lab(name)
    with pytest.raises(BadInput, match="no name for a lab"), leased(home, name):
        pass
    assert not home.folder.exists()


@given(st.text(max_size=40))
def test_every_lab_stays_in_its_own_folder(name: str) -> None:
    home = Home(Path("/nowhere"))
    try:
        folder = home.lab(name)
    except BadInput:
        return
    assert folder.path.parent == home.labs
    assert folder.path.resolve() == folder.path


@pytest.mark.parametrize("name", ["a", "1", "embedded", "p2s-2", "a" * 31])
def test_ordinary_names_are_taken(home: Home, name: str) -> None:
    assert home.lab(name).path == home.folder / "labs" / name


def test_the_home_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "x" / ".." / "here"))
    assert Home.default().folder == tmp_path / "here"
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert Home.default().folder == Path("/data/recovery-lab")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Home.default().folder == Path("/var/lib/recovery-lab")


def test_labs_are_listed_by_name(home: Home) -> None:
    assert home.lab_names() == []
    for name in ("b", "a"):
        home.lab(name).make()
    assert home.lab_names() == ["a", "b"]


def test_only_the_owner_reads_keys_and_everybody_passes_to_disks(folder: LabFolder) -> None:
    folder.make()
    modes = {
        path: stat.S_IMODE(path.stat().st_mode)
        for path in (folder.path, folder.seeds, folder.login_key.parent, folder.processes, folder.stack)
    }
    assert list(modes.values()) == [0o711, 0o711, 0o700, 0o700, 0o700]


def state(phase: Phase = Phase.STARTING) -> LabState:
    return LabState(
        lab="lab1",
        topology=Path("/topologies/x.yaml"),
        topology_digest="abc",
        host_uris=("qemu:///system",),
        acceleration="tcg",
        phase=phase,
        host_keys={"m1": "ssh-ed25519 AAAA m1"},
    )


def test_a_state_is_read_back_as_it_was_saved(folder: LabFolder) -> None:
    assert load_state(folder) is None
    for phase in Phase:
        save_state(folder, state(phase))
        assert load_state(folder) == state(phase)
    assert [path.name for path in folder.path.iterdir() if path.is_file()] == ["state.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"lab": "lab1"}', b'{"unknown": 1}'])
def test_a_damaged_state_is_an_error_that_says_what_helps(folder: LabFolder, content: bytes) -> None:
    folder.state.write_bytes(content)
    with pytest.raises(LabError, match="the state of lab lab1 is damaged") as caught:
        load_state(folder)
    assert caught.value.hint == "lab down lab1"


def test_a_cut_state_is_never_taken_for_a_whole_one(folder: LabFolder) -> None:
    save_state(folder, state())
    whole = folder.state.read_bytes()
    for length in range(len(whole)):
        folder.state.write_bytes(whole[:length])
        with pytest.raises(LabError):
            load_state(folder)
