"""Snapshots of blobs as NBD exports for machines: QEMU's own https driver, in a process of each machine.

The signature of a snapshot goes to ``qemu-storage-daemon`` over its control socket, which only this user can open:
it stands in no argument list, no image header, no domain document and no log. QEMU can only be told to verify TLS,
not with which authority, so the daemon runs in a mount namespace of its own in which the system's bundle of
authorities is the storage's. Measured and compared with nbdkit in decision 0011.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, Self

from lab.hypervisors.model import NetworkSource
from lab.hypervisors.protocols import HypervisorError
from lab.replication.vault.storage import BlobSource
from lab.waiting import Deadline, DeadlineExceeded, wait_until

AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
QEMU_USER = "libvirt-qemu"
READAHEAD = 64 << 10
READ_TIMEOUT_S = 60
START_S = 20.0
END_S = 20.0
ANSWER_S = 90.0
_WITH_AUTHORITIES = 'mount --make-rprivate / && mount --bind "$1" "$2" && shift 2 && exec "$@"'


class Exports(Protocol):
    """Serves snapshots to machines of this host, read-only."""

    def serve(self, machine: str, sources: Mapping[str, BlobSource]) -> dict[str, NetworkSource]:
        """Serve the disks of a machine, by name; what was served to it before ends. Raises HypervisorError."""

    def end(self, machine: str) -> None:
        """Serve nothing to a machine any more."""

    def close(self) -> None:
        """Serve nothing at all."""


class StorageDaemons:
    """One ``qemu-storage-daemon`` for each machine; they end with this process."""

    def __init__(self, directory: Path) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True, mode=0o711)
        self._directory = directory
        self._lock = threading.Lock()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def serve(self, machine: str, sources: Mapping[str, BlobSource]) -> dict[str, NetworkSource]:
        """Start a daemon and tell it what to serve. Raises HypervisorError."""
        self.end(machine)
        folder = self._directory / machine
        folder.mkdir(mode=0o711)
        authorities = {source.ca_file for source in sources.values()}
        if len(authorities) > 1:
            raise HypervisorError(f"{machine}: its disks are in storages of several authorities")
        process = _start(folder, next(iter(authorities), None))
        with self._lock:
            self._processes[machine] = process
        try:
            return _export(folder, process, sources)
        except (OSError, ValueError, DeadlineExceeded) as error:
            self.end(machine)
            raise HypervisorError(f"{machine}: its disks cannot be served: {type(error).__name__}") from error
        except HypervisorError:
            self.end(machine)
            raise

    def end(self, machine: str) -> None:
        """End the daemon of a machine, if it has one."""
        with self._lock:
            process = self._processes.pop(machine, None)
        if process is not None:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(END_S)
        shutil.rmtree(self._directory / machine, ignore_errors=True)

    def close(self) -> None:
        """End all daemons."""
        for machine in list(self._processes):
            self.end(machine)


def _start(folder: Path, authority: Path | None) -> subprocess.Popen[bytes]:
    monitor = f"socket,id=control,path={folder / 'control'},server=on,wait=off"
    daemon = ["qemu-storage-daemon", "--chardev", monitor, "--monitor", "chardev=control"]
    command = ["setpriv", "--pdeathsig", "TERM", *daemon]
    if authority is not None:
        command = ["unshare", "-m", "sh", "-c", _WITH_AUTHORITIES, "sh", str(authority), str(AUTHORITIES), *command]
    with (folder / "log").open("wb") as log:
        # Files that it makes are for this user only; the one for QEMU is given away below.
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, umask=0o077)


def _export(
    folder: Path, process: subprocess.Popen[bytes], sources: Mapping[str, BlobSource]
) -> dict[str, NetworkSource]:
    served = folder / "nbd"
    with Control(folder / "control", process) as control:
        for number, (name, source) in enumerate(sources.items()):
            control.execute("blockdev-add", _blockdev(f"disk{number}", source))
            if number == 0:
                address = {"type": "unix", "data": {"path": str(served)}}
                control.execute("nbd-server-start", {"addr": address})
            export = {"type": "nbd", "id": f"export{number}", "node-name": f"disk{number}", "name": name}
            control.execute("block-export-add", export)
    with suppress(KeyError):
        os.chown(served, pwd.getpwnam(QEMU_USER).pw_uid, -1)
    return {name: NetworkSource(served, name) for name in sources}


def _blockdev(node: str, source: BlobSource) -> dict[str, Any]:
    return {
        "driver": "https",
        "node-name": node,
        "url": source.secret_url,
        "sslverify": True,
        "readahead": READAHEAD,
        "timeout": READ_TIMEOUT_S,
        "read-only": True,
    }


class Control:
    """The control socket of a daemon (QMP)."""

    def __init__(self, path: Path, process: subprocess.Popen[bytes]) -> None:
        self._path = path
        self._process = process
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_S)

    def __enter__(self) -> Self:
        """Connect. Raises DeadlineExceeded, HypervisorError."""
        wait_until(self._connect, Deadline.after(START_S), "control socket of qemu-storage-daemon", every=0.05)
        self._file = self._socket.makefile("rw")
        self._file.readline()
        self.execute("qmp_capabilities", {})
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def execute(self, command: str, arguments: Mapping[str, Any]) -> None:
        """Run a command. Raises HypervisorError; the answer may quote an address, so it is not repeated."""
        self._file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._file.flush()
        while True:
            answer = json.loads(self._file.readline())
            if "return" in answer:
                return
            if "error" in answer:
                raise HypervisorError(f"qemu-storage-daemon refused {command} ({answer['error'].get('class')})")

    def _connect(self) -> bool:
        if self._process.poll() is not None:
            raise HypervisorError(f"qemu-storage-daemon ended with {self._process.returncode}")
        try:
            self._socket.connect(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True
