"""The mobility service is taken off a machine whole, also in several attempts."""

from pathlib import Path

import pytest

from lab.replication import uninstall as module
from lab.replication.uninstall import UNIT, Shared, uninstall


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with the service, and with files of its owner beside it."""
    for name in (
        "opt/recovery/releases/aa/lab/x.py",
        "etc/recovery/mobility.json",
        "etc/recovery/mobility/key.pem",
        "var/lib/recovery/spool/agent/polled-in-boot",
        f"etc/systemd/system/{UNIT}",
        "etc/systemd/system/own.service",
        "etc/systemd/network/20-replica-0.network",
        "etc/systemd/network/20-own.network",
        "opt/own/file",
        "dev/mapper/mobility-spool",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "etc/initramfs/post-update.d").mkdir(parents=True)
    return tmp_path


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_nothing_of_it_stays_and_nothing_else_goes(root: Path) -> None:
    calls: list[tuple[str, ...]] = []
    uninstall(root, lambda *command: calls.append(command), lambda: calls.append(("boot",)))
    assert files(root) == {
        "etc/systemd/system/own.service",
        "etc/systemd/network/20-own.network",
        "opt/own/file",
        "dev/mapper/mobility-spool",
    }
    assert not (root / "etc/initramfs").exists()
    assert calls == [
        ("systemctl", "disable", "--now", UNIT),
        ("systemctl", "daemon-reload"),
        ("boot",),
        ("wipefs", "-a", "-q", str(root / "dev/mapper/mobility-spool")),
    ]
    uninstall(root, lambda *_: None, lambda: None)


def test_folders_of_the_owner_stay(root: Path) -> None:
    own = root / "etc/initramfs/post-update.d/own"
    own.write_text("hook")
    uninstall(root, lambda *_: None, lambda: None)
    assert own.exists()


def test_the_spool_is_no_file_system_any_more_when_it_is_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []
    spool = root / "var/lib/recovery/spool"
    monkeypatch.setattr(module.os.path, "ismount", lambda path: Path(path) == spool)
    uninstall(root, lambda *command: calls.append(command), lambda: None)
    assert ("umount", str(spool)) in calls
    assert calls.index(("umount", str(spool))) < next(n for n, call in enumerate(calls) if call[0] == "wipefs")


def test_a_machine_with_another_component_is_left_alone(root: Path) -> None:
    (root / "etc/recovery/process-server.json").write_text("{}")
    before = files(root)
    with pytest.raises(Shared, match="process-server"):
        uninstall(root, lambda *_: None, lambda: None)
    assert files(root) == before


def test_what_was_begun_is_finished_by_the_next_attempt(root: Path) -> None:
    def fails() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        uninstall(root, lambda *_: None, fails)
    assert (root / "opt/recovery").exists(), "what repeats it is still there"
    uninstall(root, lambda *_: None, lambda: None)
    assert not (root / "opt/recovery").exists()
