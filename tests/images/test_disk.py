"""The layout of a self-booting disk, read back byte by byte."""

import shutil
import struct
import subprocess
import uuid
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.images import disk as disk_module
from lab.images.disk import ENVIRONMENT, GRUB_FOLDER, MBR_CODE_BYTES, PARTITION_OFFSET, SECTOR, write_disk

MIB = 1 << 20
SIZE = 40 * MIB
UUID = "6f0f7a52-2f0b-4d58-9a57-6f1b5c1d7e12"
TOOLS = ("grub-mkimage", "mke2fs", "sfdisk")
MISSING = [tool for tool in TOOLS if shutil.which(tool, path=ENVIRONMENT["PATH"]) is None]
MISSING += [] if (GRUB_FOLDER / "boot.img").exists() else ["grub-pc-bin"]
NEEDS_TOOLS = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
pytestmark = pytest.mark.qemu


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disk")
    (folder / "root" / "boot").mkdir(parents=True)
    (folder / "root" / "boot" / "hello").write_text("hello\n")
    write_disk(folder / "root", folder / "disk.raw", SIZE, UUID)
    return folder / "disk.raw"


@NEEDS_TOOLS
def test_one_bootable_linux_partition_fills_the_disk(disk: Path) -> None:
    sector = disk.read_bytes()[:SECTOR]
    assert disk.stat().st_size == SIZE
    assert sector[510:] == b"\x55\xaa"
    first, *others = (sector[446 + 16 * number :][:16] for number in range(4))
    boot, kind, start, sectors = struct.unpack("<B3xB3xII", first)
    assert (boot, kind, start * SECTOR) == (0x80, 0x83, PARTITION_OFFSET)
    assert (start + sectors) * SECTOR == SIZE
    assert others == [bytes(16)] * 3


@NEEDS_TOOLS
def test_the_boot_sector_is_grubs_and_leaves_the_partition_table_alone(disk: Path) -> None:
    code = (GRUB_FOLDER / "boot.img").read_bytes()
    assert disk.read_bytes()[:MBR_CODE_BYTES] == code[:MBR_CODE_BYTES]
    # Where the boot sector looks for the core image (offset 0x5c): the sector behind it.
    assert struct.unpack_from("<Q", code, 0x5C) == (1,)


@NEEDS_TOOLS
def test_grubs_core_fills_the_gap_and_ends_before_the_partition(disk: Path) -> None:
    gap = disk.read_bytes()[SECTOR:PARTITION_OFFSET]
    core = gap.rstrip(b"\0")
    # The core's first sector (diskboot.img) ends with a list of blocks: start 2, then how many sectors follow.
    start, sectors, _segment = struct.unpack_from("<QHH", gap, SECTOR - 12)
    assert start == 2
    assert len(core) <= (1 + sectors) * SECTOR < len(gap)
    assert (1 + sectors) * SECTOR - len(core) < 2 * SECTOR


@NEEDS_TOOLS
def test_the_filesystem_has_the_recipes_uuid_and_the_files(disk: Path) -> None:
    superblock = disk.read_bytes()[PARTITION_OFFSET + 1024 :][:1024]
    assert struct.unpack_from("<H", superblock, 56) == (0xEF53,)
    assert uuid.UUID(bytes=superblock[104:120]) == uuid.UUID(UUID)
    (blocks,) = struct.unpack_from("<I", superblock, 4)
    assert blocks * 4096 == SIZE - PARTITION_OFFSET
    debugfs = shutil.which("debugfs", path=ENVIRONMENT["PATH"])
    if debugfs is None:
        pytest.skip("debugfs is not installed")
    command = [debugfs, "-R", "cat /boot/hello", f"{disk}?offset={PARTITION_OFFSET}"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "hello\n"


@NEEDS_TOOLS
def test_a_root_that_does_not_fit_is_refused_with_the_tools_words(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "large").write_bytes(b"x" * SIZE)
    with pytest.raises(LabError, match="mke2fs failed: "):
        write_disk(tmp_path / "root", tmp_path / "disk.raw", SIZE, UUID)


def test_a_missing_tool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_module, "ENVIRONMENT", {"PATH": "/nowhere"})
    with pytest.raises(LabError, match="sfdisk is missing"):
        write_disk(tmp_path, tmp_path / "disk.raw", SIZE, UUID)
