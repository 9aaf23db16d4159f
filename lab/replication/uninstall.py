"""Takes the mobility service off a machine again, run as root on it from the installed release:

``python3 -m lab.replication.uninstall``

The next boot is an ordinary one; until it, writes still go through the capture, so whoever calls this restarts the
machine afterwards. It can be repeated. Push installation installs no packages, so none is removed. Standard library
only.
"""  # noqa: D415 - the command line is not a sentence

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from lab.replication.install import KINDS, SPOOL_DEVICE, SYSTEMCTL_TIMEOUT_S
from lab.replication.mobility.boot.prepare import HOOK, remove

UNIT = "recovery-mobility.service"
STATE = Path("var/lib/recovery")
REPLICA_CARDS = Path("etc/systemd/network/20-replica-*.network")
"""What the service writes for the cards that a replica will have (``mobility/networks.py``)."""
OURS = (Path("etc/recovery"), STATE, Path("opt/recovery"))
"""Folders that hold nothing but what the installer and the service have made; what repeats this goes last."""


class Shared(RuntimeError):
    """Another component of the stack is on this machine, and uses the same folders."""


def uninstall(root: Path, run: Callable[..., None], restore_boot: Callable[[], None] = remove) -> None:
    """Remove the service, its files, and the capture from the next boot.

    Args:
        root: ``/`` outside of tests.
        run: runs a program with these arguments and raises when it fails.
        restore_boot: takes the capture out of the initramfs.

    Raises:
        Shared: another component is here; nothing is removed.
    """
    others = [kind for kind in KINDS if kind != "mobility" and (root / "etc/recovery" / f"{kind}.json").exists()]
    if others:
        raise Shared(
            f"the machine has {', '.join(others)} too: only a machine with the mobility service alone is cleared"
        )
    unit = root / "etc/systemd/system" / UNIT
    if unit.exists():
        run("systemctl", "disable", "--now", UNIT)
        unit.unlink()
        run("systemctl", "daemon-reload")
    restore_boot()
    for file in (root / REPLICA_CARDS.parent).glob(REPLICA_CARDS.name):
        file.unlink()
    _drop_if_empty(root / HOOK.relative_to("/").parent)
    spool = root / STATE / "spool"
    if os.path.ismount(spool):
        run("umount", str(spool))
    device = root / SPOOL_DEVICE.lstrip("/")
    if device.exists():
        # What was there belongs to nobody now; the disk is as blank as an installer wants to find it.
        run("wipefs", "-a", "-q", str(device))
    for folder in OURS:
        shutil.rmtree(root / folder, ignore_errors=True)
    left = [str(folder) for folder in OURS if (root / folder).exists()]
    if left:
        raise OSError(f"not removed: {', '.join(left)}")


def _drop_if_empty(folder: Path) -> None:
    for place in (folder, folder.parent):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=SYSTEMCTL_TIMEOUT_S)


def main() -> None:
    """Remove, and say so."""
    parser = argparse.ArgumentParser(prog="lab.replication.uninstall")
    parser.parse_args()
    uninstall(Path("/"), _run)
    parser.exit(message="removed mobility; restart the machine\n")


if __name__ == "__main__":
    main()
