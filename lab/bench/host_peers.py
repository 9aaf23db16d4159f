"""Peers of the host rows: ``nbdcopy`` of a backup (plain, or over TLS), ``qemu-img convert``, and ``virtnbdbackup``.

``nbdcopy`` and ``qemu-img`` copy to a qcow2 behind ``qemu-nbd``, durable in the end: the kind of place that a replica
disk is. They make no recovery point, keep no record of changes, and begin from zero when they are interrupted; without
TLS they neither encrypt nor ask who is there. ``virtnbdbackup`` writes a file on this host and sends nothing anywhere.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from lab.bench.by_hand import free_port
from lab.bench.host_pair import SOURCE, TARGET, URI, Machines
from lab.bench.unpacked import Program
from lab.errors import LabError
from lab.replication.mobility.capture import CapturedDisk
from lab.replication.provider.libvirt_machine import backup_xml, export_name, socket_in
from lab.replication.provider.qemu_nbd import ServedImage
from lab.waiting import Deadline, wait_until

COPY_S, TOOL_S, START_S = 600.0, 120.0, 30.0
OPTIONS = ("--flush", "--destination-is-zero")
"""Durable in the end, and without writing zeros to an image that was made empty."""
QEMU_IMG = ("-n", "--target-is-zero", "-f", "raw", "-O", "raw", "-t", "writeback", "-m", "16", "-W")
"""The same of ``qemu-img convert``, and its fastest: as many pieces at once as it allows, written as they come.

Its own cache mode is "unsafe". In QEMU 7.2 an NBD server gets a flush at the end even so; "writeback" asks for it.
"""
VIRTNBDBACKUP = Program(
    "virtnbdbackup",
    ("virtnbdbackup", "python3-libvirt", "python3-lxml", "python3-lz4", "python3-tqdm", "python3-paramiko",
     "python3-bcrypt", "python3-nacl", "python3-bs4", "python3-soupsieve", "python3-html5lib",
     "python3-webencodings", "python3-typing-extensions", "python3-invoke"),
)  # fmt: skip


def nbdcopy_seconds(machines: Machines) -> float:
    """Return how long ``nbdcopy`` takes from the machine's disk to a new image. Raises LabError."""
    return _copied(machines, ["nbdcopy", *OPTIONS])


def qemu_img_seconds(machines: Machines) -> float:
    """Return how long ``qemu-img convert`` takes from the machine's disk to a new image. Raises LabError."""
    return _copied(machines, ["qemu-img", "convert", *QEMU_IMG])


def _copied(machines: Machines, command: Sequence[str]) -> float:
    """Return the seconds of a copy whose command line ends with its source and its target."""
    replica = _new_image(machines)
    try:
        with closing(ServedImage(replica, writable=True)) as served, _backup(machines) as source:
            seconds = _timed([*command, source, f"nbd+unix:///?socket={served.socket}"], command[0])
        machines.compare(replica)
        return seconds
    finally:
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
    VIRTNBDBACKUP.provide()
    output = machines.folder / "virtnbdbackup"
    output.mkdir()
    # QEMU's user makes the socket of the backup there.
    socket = machines.folder / "images" / "virtnbdbackup.sock"
    shutil.chown(socket.parent, "libvirt-qemu")
    command = [*VIRTNBDBACKUP.command, "-U", URI, "-d", machines.machine, "-l", "copy"]
    command += ["-o", str(output), "-f", str(socket)]
    try:
        return _timed(command, "virtnbdbackup", VIRTNBDBACKUP.environment)
    finally:
        shutil.rmtree(output)


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
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{name} did not end within {COPY_S:g} s") from error
    except subprocess.CalledProcessError as error:
        raise LabError(f"{name} failed: {error.stderr.strip()[-500:]}") from error
    return time.monotonic() - begin
