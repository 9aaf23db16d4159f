import json
from pathlib import Path

import pytest

from lab.doctor import acceleration as subject
from lab.doctor.acceleration import Acceleration, kernel_ran, prove_kvm
from lab.doctor.facts import newest_kernel
from lab.waiting import Deadline

BOOTED = "[    0.0] Linux version 6.1.0\n[    1.2] Run /init as init process\n"
ROOTLESS = "[    0.0] Linux version 6.1.0\n[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs\n"


@pytest.mark.parametrize(
    ("console", "ran"),
    [
        (BOOTED, True),
        (ROOTLESS, True),
        ("SeaBIOS (version 1.16.2)\nBooting from ROM...\n", False),
        ("[    0.0] Linux version 6.1.0\n", False),
        ("Run /init as init process\n", False),
        ("", False),
    ],
)
def test_only_a_kernel_that_reached_the_end_ran(console: str, ran: bool) -> None:
    assert kernel_ran(console) is ran


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a KVM device and a QEMU that prints a file instead of booting."""
    device, bin_dir = tmp_path / "kvm", tmp_path / "bin"
    device.touch()
    bin_dir.mkdir()
    qemu = bin_dir / subject.QEMU
    qemu.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo 7.2 && exit\necho boot >> {tmp_path}/boots\ncat {tmp_path}/console\n'
    )
    qemu.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_dir}:/usr/bin:/bin")
    monkeypatch.setattr(subject, "DEVICE", device)
    (tmp_path / "vmlinuz-1").write_bytes(b"kernel")
    return tmp_path


def boots(machine: Path) -> int:
    log = machine / "boots"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.parametrize(("console", "answer"), [(BOOTED, Acceleration.KVM), ("SeaBIOS", Acceleration.TCG)])
def test_the_answer_is_proved_once(machine: Path, console: str, answer: Acceleration) -> None:
    (machine / "console").write_text(console)
    for _ in range(2):
        assert subject.acceleration(machine / "cache", machine / "vmlinuz-1", None) is answer
    assert boots(machine) == 1


def test_another_kernel_is_proved_again_and_without_one_the_proof_counts(machine: Path) -> None:
    (machine / "console").write_text(BOOTED)
    (machine / "vmlinuz-2").write_bytes(b"other kernel")
    for kernel in ("vmlinuz-1", "vmlinuz-2"):
        subject.acceleration(machine / "cache", machine / kernel, None)
    assert boots(machine) == 2
    assert subject.assess(machine / "cache", None, None).proved


def test_without_a_kernel_it_is_tcg_until_proved(machine: Path) -> None:
    fact = subject.assess(machine / "cache", None, None)
    assert (fact.acceleration, fact.proved) == (Acceleration.TCG, False)


def test_a_broken_cache_is_no_answer(machine: Path) -> None:
    (machine / "acceleration.json").write_text("{broken")
    (machine / "console").write_text(BOOTED)
    assert subject.acceleration(machine, machine / "vmlinuz-1", None) is Acceleration.KVM
    assert list(json.loads((machine / "acceleration.json").read_text()).values()) == [True]


def test_without_a_device_it_is_tcg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "DEVICE", tmp_path / "none")
    assert subject.acceleration(tmp_path, None, None) is Acceleration.TCG


def test_a_guest_that_hangs_ends_at_the_deadline(machine: Path) -> None:
    (machine / "bin" / subject.QEMU).write_text("#!/bin/sh\necho SeaBIOS\nexec sleep 60\n")
    deadline = Deadline.after(0.3)
    assert prove_kvm(machine / "vmlinuz-1", None, deadline) is False
    assert deadline.expired


def test_newest_kernel_and_its_initrd(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    full.mkdir()
    for name in ("vmlinuz-6.1", "initrd.img-6.1"):
        (full / name).touch()
    assert newest_kernel([empty, full]) == (full / "vmlinuz-6.1", full / "initrd.img-6.1")
    assert newest_kernel([empty]) == (None, None)


def test_a_tree_that_is_being_built_is_not_looked_into(tmp_path: Path) -> None:
    kernel = tmp_path / "images" / "debian-12-abc.vmlinuz"
    half = tmp_path / "images" / "build-x" / "root" / "boot" / "later.vmlinuz"
    for path in (kernel, half):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert newest_kernel([tmp_path]) == (kernel, None)
