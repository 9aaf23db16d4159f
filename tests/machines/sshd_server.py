"""A real OpenSSH server on a loopback port, with its own keys and configuration."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.hypervisors.model import Endpoint
from lab.machines.ssh import Login, SshTransport

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
PRIVILEGE_SEPARATION = Path("/run/sshd")


@dataclass(frozen=True)
class Server:
    """The server and who may log in."""

    process: subprocess.Popen[bytes]
    endpoint: Endpoint
    login: Login

    def transport(self) -> SshTransport:
        return SshTransport("m1", self.endpoint, self.login)

    def sessions(self) -> list[int]:
        """Return the processes that serve connections, outermost first."""
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], check=False, capture_output=True, text=True
        )
        return [int(pid) for pid in found.stdout.split()]

    def kill_sessions(self) -> None:
        for pid in self.sessions():
            os.kill(pid, signal.SIGKILL)


def sshd_refusal() -> str | None:
    """Say why no server can run here, or None."""
    if SSHD is None:
        return "sshd is not installed"
    if os.geteuid() == 0:
        # As root the server gives up rights at first, and wants a user and a folder for that.
        if not PRIVILEGE_SEPARATION.is_dir():
            return f"{PRIVILEGE_SEPARATION} does not exist"
        try:
            pwd.getpwnam("sshd")
        except KeyError:
            return "there is no user sshd"
    return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None, "sshd ended at once"
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
