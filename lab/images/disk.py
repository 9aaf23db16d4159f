"""A bootable disk from a root file system, without mounting anything: MBR, GRUB in the gap, one ext4 partition."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from lab.errors import LabError

PARTITION_OFFSET = 1 << 20
MBR_CODE_BYTES = 440
SECTOR = 512
TOOL_SECONDS = 120.0
GRUB_FOLDER = Path("/usr/lib/grub/i386-pc")
GRUB_MODULES = ("biosdisk", "part_msdos", "ext2", "normal", "linux", "configfile", "boot")
ENVIRONMENT = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}


def write_disk(root: Path, disk: Path, size_bytes: int, filesystem_uuid: str) -> None:
    """Write a raw disk of ``size_bytes`` that boots ``root`` by itself. Raises LabError with the tool's words."""
    with disk.open("wb") as file:
        file.truncate(size_bytes)
    _run(["sfdisk", "-q", str(disk)], stdin="label: dos\nstart=2048, type=83, bootable\n")
    blocks = (size_bytes - PARTITION_OFFSET) // 4096
    _run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-U", filesystem_uuid, "-d", str(root),
         "-E", f"offset={PARTITION_OFFSET},lazy_itable_init=0,lazy_journal_init=0,nodiscard", "-J", "size=16",
         "-m", "0", str(disk), str(blocks)]
    )  # fmt: skip
    _install_grub(disk)


def _install_grub(disk: Path) -> None:
    """Put GRUB's boot sector and core image where its defaults expect them: sector 0 and the gap from sector 1."""
    with tempfile.TemporaryDirectory() as folder:
        core = Path(folder) / "core.img"
        _run(["grub-mkimage", "-O", "i386-pc", "-o", str(core), "-p", "(hd0,msdos1)/boot/grub", *GRUB_MODULES])
        code = core.read_bytes()
    if SECTOR + len(code) > PARTITION_OFFSET:
        raise LabError(f"GRUB's core image of {len(code)} bytes does not fit before the partition")
    with disk.open("r+b") as file:
        file.write((GRUB_FOLDER / "boot.img").read_bytes()[:MBR_CODE_BYTES])
        file.seek(SECTOR)
        file.write(code)


def _run(command: list[str], stdin: str = "") -> None:
    try:
        subprocess.run(
            command, check=True, input=stdin, text=True, capture_output=True, timeout=TOOL_SECONDS, env=ENVIRONMENT
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]} is missing", hint="make bootstrap installs it") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{command[0]} did not end within {TOOL_SECONDS:.0f} s") from error
    except subprocess.CalledProcessError as error:
        raise LabError(f"{command[0]} failed: {error.stderr.strip()}") from error
