"""A real OpenSSH server on a loopback port, with its own keys and configuration."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lab.hypervisors.model import Endpoint
from lab.machines.ssh import Login, SshTransport

UNPACKED = Path(__file__).resolve().parents[2] / ".venv" / "sshd"
"""Where bootstrap unpacks the server, so that none is started on this machine."""
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:{UNPACKED}/usr/sbin")
PRIVILEGE_SEPARATION = Path("/run/sshd")
# As root the server gives up rights at first, and wants a user and a folder for that: it sees ones of its own.
IN_A_NAMESPACE = """set -e
mount -t tmpfs tmpfs /run
mkdir -m 755 /run/sshd
mount --bind "$1" /etc/passwd
shift
exec "$@"
"""


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


def start_sshd(folder: Path, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the server with the configuration in ``folder``."""
    command = [str(SSHD), "-D", "-e", "-f", str(folder / "config")]
    if os.geteuid() == 0 and not _privileges_can_be_separated():
        (folder / "passwd").write_text(f"{Path('/etc/passwd').read_text()}sshd:x:65533:65534::/run/sshd:/bin/false\n")
        command = ["unshare", "--mount", "sh", "-c", IN_A_NAMESPACE, "sh", str(folder / "passwd"), *command]
    libraries = ":".join(str(path.parent) for path in UNPACKED.rglob("lib*.so.*"))
    return subprocess.Popen(command, stderr=stderr, env={**os.environ, "LD_LIBRARY_PATH": libraries})


def _privileges_can_be_separated() -> bool:
    try:
        pwd.getpwnam("sshd")
    except KeyError:
        return False
    return PRIVILEGE_SEPARATION.is_dir()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None, "sshd ended at once"
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
