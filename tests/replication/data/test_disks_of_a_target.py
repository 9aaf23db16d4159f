"""Disks of a master target are found by serial number, also while others come and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.replication.master_target import devices


@pytest.fixture
def block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(devices, "SYS_BLOCK", tmp_path)
    for name, serial in (("vda", "other"), ("vdj", "wanted")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "serial").write_text(f"{serial}\n", encoding="ascii")
    return tmp_path


def test_a_disk_is_found_by_its_serial_number(block: Path) -> None:
    assert devices.resolve_serial("wanted") == Path("/dev/vdj")
    assert devices.resolve_serial("absent") is None


def test_a_disk_that_is_being_unplugged_hides_no_other(block: Path) -> None:
    # Reading a folder fails with an OSError, as the kernel's ENODEV does for a disk that goes.
    (block / "vdh" / "serial").mkdir(parents=True)
    (block / "vdb" / "device" / "serial").mkdir(parents=True)
    assert devices.resolve_serial("wanted") == Path("/dev/vdj")
    assert devices.resolve_serial("absent") is None
