"""Put the capture in front of the machine's initramfs, and take it out again.

Rebuilding an initramfs takes minutes on a slow machine and depends on the distribution. The kernel accepts several
archives one after the other, so ours (uncompressed, like a microcode archive) is written before the existing image.
"""

from __future__ import annotations

import json
import os
import platform
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.replication.common.durable import write_atomically
from lab.replication.mobility.boot.cpio import archive, leading_archive
from lab.replication.mobility.boot.layout import Layout, divide

BOOT = Path("/boot")
HOOK = Path("/etc/initramfs/post-update.d/recovery-mobility")
ENDING_HOOK = Path("/usr/lib/systemd/system-shutdown/recovery-mobility")
"""What systemd runs last in a shutdown (systemd-shutdown(8))."""
STATE = Path("/etc/recovery/capture.json")
DMSETUP_HOOK = Path("/usr/share/initramfs-tools/hooks/dmsetup")
CHANGE_LOG_NAME = "mobility/change-log"
HOOK_TEXT = """#!/bin/sh
# A new initramfs gets the capture again.
cd /opt/recovery/current && exec python3 -m lab.replication.mobility.boot "$1"
"""
MKFS_SECONDS = 120.0


class CannotCapture(RuntimeError):
    """This machine lacks something that the capture needs; the message says what."""


def prepare(disks: Sequence[tuple[str, str]], change_log_serial: str) -> Layout:
    """Make the next boot capture these disks, given as (name, serial). Idempotent.

    Raises:
        CannotCapture: no initramfs-tools, no dm-log-writes module, no such disk.
    """
    log = device_by_serial(change_log_serial)
    sizes = sizes_of_first_time(STATE, disks, change_log_serial)
    if sizes is None:
        sizes = [device_bytes(device_by_serial(serial)) for _, serial in disks]
    layout = divide(device_bytes(log), sizes)
    lines = [
        f"{name} {serial} {areas.a.first_sector} {areas.a.sectors} {areas.b.first_sector}\n"
        for (name, serial), areas in zip(disks, layout.disks, strict=True)
    ]
    spool = layout.spool
    files: Mapping[str, tuple[bytes, int]] = {
        "conf/conf.d/mobility": (b"BOOT=mobility\n", 0o644),
        "scripts/mobility": ((Path(__file__).parent / "mobility.sh").read_bytes(), 0o755),
        "mobility/dm-log-writes.ko": (kernel_module(platform.release()), 0o644),
        CHANGE_LOG_NAME: (f"{change_log_serial} {spool.first_sector} {spool.sectors}\n".encode(), 0o644),
        "mobility/disks": ("".join(lines).encode(), 0o644),
    }
    if not DMSETUP_HOOK.exists():
        raise CannotCapture("the package dmsetup (with its initramfs hook) is not installed")
    STATE.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(
        STATE, json.dumps({"disks": list(disks), "change_log": change_log_serial, "sizes": sizes}).encode()
    )
    install(archive(files), initramfs(platform.release()))
    _write_program(HOOK, HOOK_TEXT)
    _write_program(ENDING_HOOK, (Path(__file__).parent / "ending.sh").read_text(encoding="utf-8"))
    return layout


def _write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def sizes_of_first_time(state: Path, disks: Sequence[tuple[str, str]], change_log_serial: str) -> list[int] | None:
    """Return the sizes (bytes) by which the change log of these disks was divided, None if it was not yet.

    A disk that has grown since must not move the areas: the spool behind them would be lost at the next boot.
    """
    known = json.loads(state.read_text(encoding="utf-8")) if state.exists() else {}
    same = known.get("disks") == [list(disk) for disk in disks] and known.get("change_log") == change_log_serial
    sizes: list[int] | None = known.get("sizes") if same else None
    return sizes


def remove(hook: Path = HOOK, state: Path = STATE, boot: Path = BOOT, ending_hook: Path = ENDING_HOOK) -> None:
    """Make the next boot an ordinary one, of whichever kernel. Idempotent."""
    hook.unlink(missing_ok=True)
    ending_hook.unlink(missing_ok=True)
    state.unlink(missing_ok=True)
    for image in sorted(boot.glob("initrd.img-*")):
        found = image.read_bytes()
        ordinary = without_capture(found)
        if ordinary != found:
            _replace(image, ordinary)


def install(capture: bytes, image: Path) -> None:
    """Write ``capture`` in front of an initramfs, in place of an earlier one."""
    _replace(image, capture + without_capture(image.read_bytes()))


def _replace(image: Path, content: bytes) -> None:
    """Write an initramfs that anybody may read, or nobody but root, as before."""
    write_atomically(image, content, stat.S_IMODE(image.stat().st_mode))


def without_capture(image: bytes) -> bytes:
    """Return the initramfs without our archive in front; a microcode archive stays."""
    names, rest = leading_archive(image)
    return image[rest:] if CHANGE_LOG_NAME in names else image


def initramfs(release: str) -> Path:
    """Return the machine's initramfs. Raises CannotCapture."""
    image = BOOT / f"initrd.img-{release}"
    if not image.exists():
        raise CannotCapture(f"there is no {image}: only initramfs-tools is supported")
    return image


def kernel_module(release: str) -> bytes:
    """Return the dm-log-writes module of a kernel. Raises CannotCapture."""
    module = Path(f"/lib/modules/{release}/kernel/drivers/md/dm-log-writes.ko")
    if not module.exists():
        raise CannotCapture(f"the kernel {release} has no dm-log-writes module")
    return module.read_bytes()


def device_by_serial(serial: str) -> Path:
    """Return the disk with this serial. Raises CannotCapture."""
    for block in Path("/sys/block").iterdir():
        path = block / "serial"
        if path.exists() and path.read_text(encoding="ascii").strip() == serial:
            return Path("/dev") / block.name
    raise CannotCapture(f"there is no disk with the serial {serial!r}")


def device_bytes(device: Path) -> int:
    """Return the size of a block device (or, in tests, a file) in bytes."""
    with device.open("rb") as file:
        if stat.S_ISBLK(os.fstat(file.fileno()).st_mode):
            return file.seek(0, os.SEEK_END)
        return os.fstat(file.fileno()).st_size


def make_spool(device: Path, mount: Path) -> None:
    """Format the spool if it is blank, and mount it. Raises CannotCapture."""
    mount.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.path.ismount(mount):
        return
    blank = subprocess.run(["blkid", "-p", str(device)], check=False, timeout=MKFS_SECONDS, capture_output=True)
    commands = [] if blank.returncode == 0 else [["mkfs.ext4", "-q", "-m", "0", str(device)]]
    for command in [*commands, ["mount", "-o", "noatime", str(device), str(mount)]]:
        done = subprocess.run(command, check=False, timeout=MKFS_SECONDS, capture_output=True, text=True)
        if done.returncode != 0:
            raise CannotCapture(f"{command[0]} of the spool failed: {done.stderr.strip()}")
