"""Switches as tiny QEMU processes made of hub ports: no privileges, about 240 Mbit/s without KVM."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.networks import qmp
from lab.networks.naming import device_name
from lab.networks.protocol import NetworkError, StreamWiring
from lab.waiting import Deadline, wait_until

START_SECONDS = 15.0


@dataclass(frozen=True)
class HubSwitches:
    """One ``qemu -M none`` for each network; its sockets live in ``folder`` and its name carries the lab's tag."""

    tag: str
    folder: Path

    def ensure(self, network: str) -> None:
        """Start the hub of a network unless it runs."""
        if self._pid(network) is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        monitor = self._monitor(network)
        # What a hub left behind that died: nobody listens there any more.
        for stale in (monitor, *self.folder.glob(f"{network}.p*.sock")):
            stale.unlink(missing_ok=True)
        command = [
            "qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none",
            "-name", f"recovery-lab-hub:{self.tag}:{network}",
            "-qmp", f"unix:{monitor},server=on,wait=off",
            "-pidfile", str(self._pidfile(network)), "-daemonize",
        ]  # fmt: skip
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=START_SECONDS)
        except subprocess.CalledProcessError as error:
            raise NetworkError(f"the hub of {network} did not start: {error.stderr.strip()}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NetworkError(f"the hub of {network} did not start: {error}") from error

    def wire(self, network: str, machine: str) -> StreamWiring:
        """Add a listening port for a machine."""
        port = device_name("p", network, machine)
        socket = self.folder / f"{network}.{port}.sock"
        if not socket.exists():
            monitor = self._monitor(network)
            qmp.execute(
                monitor,
                "netdev_add",
                type="stream",
                id=port,
                server=True,
                addr={"type": "unix", "path": str(socket)},
            )
            qmp.execute(monitor, "netdev_add", type="hubport", id=f"{port}h", hubid=0, netdev=port)
            wait_until(socket.exists, Deadline.after(START_SECONDS), f"socket of {machine} on {network}")
            socket.chmod(0o666)
        return StreamWiring(socket)

    def plug(self, network: str, machine: str) -> None:
        """Do nothing: QEMU connected to the socket by itself."""

    def remove_all(self) -> None:
        """End the hubs that this lab started and remove their sockets."""
        for pidfile in sorted(self.folder.glob("*.pid")) if self.folder.is_dir() else []:
            pid = self._pid(pidfile.stem)
            if pid is not None:
                os.kill(pid, signal.SIGTERM)
                _wait_gone(self, pidfile.stem)
            pidfile.unlink(missing_ok=True)
        for socket in self.folder.glob("*.sock"):
            socket.unlink(missing_ok=True)

    def leftovers(self) -> list[str]:
        """Return the hubs that still run."""
        running = (path.stem for path in sorted(self.folder.glob("*.pid")))
        return [f"hub process of {name}" for name in running if self._pid(name) is not None]

    def runs(self, network: str) -> bool:
        """Whether the hub of a network runs."""
        return self._pid(network) is not None

    def _monitor(self, network: str) -> Path:
        return self.folder / f"{network}.sock"

    def _pidfile(self, network: str) -> Path:
        return self.folder / f"{network}.pid"

    def _pid(self, network: str) -> int | None:
        """Return the hub's process, only when that process really is this lab's hub (process ids are reused)."""
        try:
            pid = int(self._pidfile(network).read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if f"recovery-lab-hub:{self.tag}:{network}".encode() in arguments.split(b"\0") else None


def _wait_gone(switches: HubSwitches, network: str) -> None:
    wait_until(lambda: not switches.runs(network), Deadline.after(START_SECONDS), f"end of the hub of {network}")
