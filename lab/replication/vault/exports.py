"""Snapshots of blobs as NBD exports for machines: an ``nbdkit`` with our plugin for each disk.

The signature of a snapshot is in a file that only this user can open: it stands in no argument list, no image
header, no domain document and no log. TLS is verified with the storage's authority. QEMU's own https driver and
nbdkit's curl plugin were tried first, and given up for the reasons in decision 0011.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from lab.hypervisors.model import NetworkSource
from lab.hypervisors.protocols import HypervisorError
from lab.replication.common.durable import write_json
from lab.replication.vault.storage import BlobSource
from lab.waiting import Deadline, DeadlineExceeded, wait_until

PLUGIN = Path(__file__).with_name("blob_plugin.py")
QEMU_USER = "libvirt-qemu"
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
START_S = 30.0
END_S = 2.0
"""What is served is read-only: nothing is lost when a server is ended at once."""


class Exports(Protocol):
    """Serves snapshots to machines of this host, read-only."""

    def serve(self, machine: str, sources: Mapping[str, BlobSource]) -> dict[str, NetworkSource]:
        """Serve the disks of a machine, by name; what was served to it before ends. Raises HypervisorError."""

    def end(self, machine: str) -> None:
        """Serve nothing to a machine any more."""

    def close(self) -> None:
        """Serve nothing at all."""


class NbdServers:
    """One ``nbdkit`` for each disk of each machine; they end with this process."""

    def __init__(self, directory: Path) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True, mode=0o711)
        self._directory = directory
        self._lock = threading.Lock()
        self._processes: dict[str, list[subprocess.Popen[bytes]]] = {}

    def serve(self, machine: str, sources: Mapping[str, BlobSource]) -> dict[str, NetworkSource]:
        """Start a server for each disk. Raises HypervisorError."""
        self.end(machine)
        folder = self._directory / machine
        folder.mkdir(mode=0o711)
        try:
            return {name: self._serve(machine, folder, name, source) for name, source in sources.items()}
        except (OSError, DeadlineExceeded) as error:
            self.end(machine)
            raise HypervisorError(f"{machine}: its disks cannot be served: {type(error).__name__}") from error
        except HypervisorError:
            self.end(machine)
            raise

    def end(self, machine: str) -> None:
        """End the servers of a machine, if it has any."""
        with self._lock:
            processes = self._processes.pop(machine, [])
        for process in processes:
            if process.stdin is not None:
                process.stdin.close()
            process.terminate()
        for process in processes:
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(END_S)
        shutil.rmtree(self._directory / machine, ignore_errors=True)

    def close(self) -> None:
        """End all servers."""
        for machine in list(self._processes):
            self.end(machine)

    def _serve(self, machine: str, folder: Path, name: str, source: BlobSource) -> NetworkSource:
        served, log = folder / f"{name}.nbd", folder / f"{name}.log"
        ca_file = None if source.ca_file is None else str(source.ca_file)
        order = {"url": source.secret_url, "ca_file": ca_file, "size": source.size}
        write_json(folder / f"{name}.order", order)
        process = _start(folder / f"{name}.order", served, name, log)
        with self._lock:
            self._processes.setdefault(machine, []).append(process)

        def listens() -> bool:
            if process.poll() is not None:
                raise HypervisorError(f"{machine}: disk {name} is not served: {_last_line(log)}")
            return served.exists()

        wait_until(listens, Deadline.after(START_S), f"NBD server of {machine}", every=0.05)
        with suppress(KeyError):
            os.chown(served, pwd.getpwnam(QEMU_USER).pw_uid, -1)
        return NetworkSource(served, name)


def _start(order: Path, served: Path, name: str, log: Path) -> subprocess.Popen[bytes]:
    server = ["nbdkit", "--foreground", "--readonly", "--unix", str(served), "--exportname", name]
    command = ["setpriv", "--pdeathsig", "TERM", *server, "python", str(PLUGIN), f"order={order}"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    # The interpreter inside of nbdkit is Debian's and looks for its library beside the first python3 of PATH: a virtual
    # environment's is another one.
    environment["PATH"] = SYSTEM_PATH
    with log.open("wb") as output:
        # Files that it makes are for this user only; the socket is given to QEMU's user afterwards.
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, umask=0o077, env=environment
        )


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"
