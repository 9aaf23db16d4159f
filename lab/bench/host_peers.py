"""Peers of the host rows: ``nbdcopy`` of a backup (plain, or over TLS), and ``virtnbdbackup``.

``nbdcopy`` copies to a qcow2 behind ``qemu-nbd`` with ``--flush``: the kind of place that a replica disk is. It makes
no recovery point, keeps no record of changes, and begins from zero when it is interrupted; without TLS it neither
encrypts nor asks who is there. ``virtnbdbackup`` writes a file on this host and sends nothing anywhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.bench.by_hand import free_port
from lab.bench.host_pair import SOURCE, TARGET, URI, Machines
from lab.errors import LabError
from lab.home import home
from lab.replication.mobility.capture import CapturedDisk
from lab.replication.provider.libvirt_machine import backup_xml, export_name, socket_in
from lab.replication.provider.qemu_nbd import ServedImage
from lab.waiting import Deadline, wait_until

COPY_S, TOOL_S, START_S = 600.0, 120.0, 30.0
OPTIONS = ("--flush", "--destination-is-zero")
"""Durable in the end, and without writing zeros to an image that was made empty."""
PYTHON = "/usr/bin/python3"
PACKAGES = ("virtnbdbackup", "python3-libvirt", "python3-lxml", "python3-lz4", "python3-tqdm", "python3-paramiko",
            "python3-bcrypt", "python3-nacl", "python3-bs4", "python3-soupsieve", "python3-html5lib",
            "python3-webencodings", "python3-typing-extensions", "python3-invoke")  # fmt: skip
"""Debian's package with what it imports, unpacked into a folder of the bench: nothing of this machine changes."""
LIBRARIES = "usr/lib/python3/dist-packages"


class NotToBeHad(LabError):
    """The peer cannot be had here; its row is left out."""


def nbdcopy_seconds(machines: Machines) -> float:
    """Return how long ``nbdcopy`` takes from the machine's disk to a new image. Raises LabError."""
    replica = _new_image(machines)
    served = ServedImage(replica, writable=True)
    try:
        with _backup(machines) as source:
            return _timed(["nbdcopy", *OPTIONS, source, f"nbd+unix:///?socket={served.socket}"], "nbdcopy")
    finally:
        served.close()
        replica.unlink()


def nbdcopy_tls_seconds(machines: Machines) -> float:
    """Return the same over TCP and TLS with certificates on both sides. Raises LabError."""
    replica = _new_image(machines)
    client, server = (_tls_folder(machines, name, role) for name, role in ((SOURCE, "client"), (TARGET, "server")))
    port = free_port()
    credentials = f"tls-creds-x509,id=tls0,endpoint=server,dir={server},verify-peer=yes"
    command = ["qemu-nbd", "--persistent", "--shared=4", "--format", "qcow2", "--object", credentials]
    command += ["--tls-creds", "tls0", "--bind", "127.0.0.1", "--port", str(port), str(replica)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _accepts(port), Deadline.after(START_S), "qemu-nbd over TLS", every=0.02)
            with _backup(machines) as source:
                place = f"nbds://127.0.0.1:{port}/?tls-certificates={client}"
                return _timed(["nbdcopy", *OPTIONS, source, place], "nbdcopy over TLS")
        finally:
            process.terminate()
            process.wait(TOOL_S)
            replica.unlink()


def virtnbdbackup_seconds(machines: Machines) -> float:
    """Return how long ``virtnbdbackup`` takes for a copy of the machine. Raises LabError, NotToBeHad."""
    unpacked = virtnbdbackup()
    output = machines.folder / "virtnbdbackup"
    output.mkdir()
    # QEMU's user makes the socket of the backup there.
    socket = machines.folder / "images" / "virtnbdbackup.sock"
    shutil.chown(socket.parent, "libvirt-qemu")
    command = [PYTHON, str(unpacked / "usr/bin/virtnbdbackup"), "-U", URI, "-d", machines.machine, "-l", "copy"]
    command += ["-o", str(output), "-f", str(socket)]
    try:
        return _timed(command, "virtnbdbackup", _environment(unpacked))
    finally:
        shutil.rmtree(output)


def virtnbdbackup() -> Path:
    """Return the folder of the unpacked program, fetched now if it is not there. Raises NotToBeHad."""
    folder = home() / "bench" / "virtnbdbackup"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _run(["apt-get", "download", "-q", *PACKAGES], folder)
        for package in folder.glob("*.deb"):
            _run(["dpkg-deb", "-x", str(package), str(folder)], folder)
            package.unlink()
        _run([PYTHON, "usr/bin/virtnbdbackup", "--version"], folder, _environment(folder))
        (folder / "complete").touch()
    return folder


def _environment(unpacked: Path) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(unpacked / LIBRARIES), "LANG": "C.UTF-8"}


def _run(command: Sequence[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    try:
        subprocess.run(
            command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=TOOL_S
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotToBeHad(f"virtnbdbackup: {error}") from error
    except subprocess.CalledProcessError as error:
        raise NotToBeHad(f"virtnbdbackup: {error.stderr.strip()[-300:]}") from error


@contextmanager
def _backup(machines: Machines) -> Iterator[str]:
    """Begin a backup as the provider does, and yield the address of the disk in it."""
    folder = machines.folder / "peer"
    folder.mkdir()
    shutil.chown(folder, "libvirt-qemu")
    disk = CapturedDisk(0, "vda", machines.image, machines.size)
    machines.domain.backupBegin(backup_xml([disk], [], None, folder), None)
    try:
        yield f"nbd+unix:///{export_name(0)}?socket={socket_in(folder)}"
    finally:
        machines.domain.abortJob()
        wait_until(lambda: not _job(machines), Deadline.after(START_S), "end of the backup", every=0.02)
        shutil.rmtree(folder)


def _job(machines: Machines) -> bool:
    return bool(machines.domain.jobInfo()[0])


def _new_image(machines: Machines) -> Path:
    path = machines.folder / "replicas" / "peer.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", str(path), str(machines.size)], check=True, timeout=TOOL_S
    )
    return path


def _tls_folder(machines: Machines, name: str, role: str) -> Path:
    """Return a folder with the identity of a provider under the names that QEMU and libnbd look for."""
    folder = machines.folder / f"tls-{role}"
    if not folder.exists():
        folder.mkdir(mode=0o700)
        identity = machines.folder / f"{name}-identity"
        for ours, theirs in (("ca.pem", "ca-cert"), ("machine.pem", f"{role}-cert"), ("machine.key", f"{role}-key")):
            shutil.copy(identity / ours, folder / f"{theirs}.pem")
    return folder


def _accepts(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _timed(command: Sequence[str], name: str, environment: dict[str, str] | None = None) -> float:
    begin = time.monotonic()
    try:
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=COPY_S)
    except FileNotFoundError as error:
        raise LabError(f"{name} is missing", hint="make bootstrap installs it") from error
    except subprocess.CalledProcessError as error:
        raise LabError(f"{name} failed: {error.stderr.strip()[-500:]}") from error
    return time.monotonic() - begin
