"""Commands and files on a machine that has nothing installed yet, with the OpenSSH client."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lab.replication.common.control import CommandFailed

CONNECT_TIMEOUT_S = 12


@dataclass(frozen=True)
class SshTarget:
    """A machine and how to log in to it; its host key has to be in ``known_hosts`` already."""

    address: str
    user: str
    key_file: Path
    known_hosts: Path

    def run(self, command: Sequence[str], *, timeout: float, stdin: IO[bytes] | None = None) -> str:
        """Run ``command`` as root over there and return what it prints.

        Raises:
            CommandFailed: it cannot be reached in time, or the command fails.
        """
        elevated = [*([] if self.user == "root" else ["sudo", "-n"]), *command]
        # The other side always has a shell; shlex.join makes it see exactly these arguments.
        arguments = [*self._client(), shlex.join(elevated)]
        try:
            done = subprocess.run(
                arguments, stdin=stdin or subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise CommandFailed("push-timeout", f"{command[0]} on {self.address}: no end in {timeout:.0f} s") from error
        if done.returncode:
            problem = done.stderr.decode(errors="replace").strip()[-400:]
            raise CommandFailed("push-failed", f"{command[0]} on {self.address}: {problem}")
        return done.stdout.decode(errors="replace")

    def copy(self, source: Path, destination: str, *, timeout: float) -> None:
        """Copy a file; only root can read the copy.

        Raises:
            CommandFailed: it does not arrive.
        """
        self.run(["install", "-D", "-m", "600", "/dev/null", destination], timeout=timeout)
        # Not through /dev/stdin: a server may give its commands a socket there, which cannot be opened by name.
        with source.open("rb") as file:
            self.run(["dd", f"of={destination}", "bs=1M", "status=none"], timeout=timeout, stdin=file)

    def disconnect(self) -> None:
        """Close the kept connection: one to a machine that restarts would only be in the way."""
        command = [*self._client()[:-1], "-O", "exit", self._client()[-1]]
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=CONNECT_TIMEOUT_S, check=False)

    def _client(self) -> list[str]:
        options = {
            "UserKnownHostsFile": self.known_hosts,
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": CONNECT_TIMEOUT_S,
            "ServerAliveInterval": 5,
            # One login for all steps: each costs seconds on a slow machine.
            "ControlMaster": "auto",
            "ControlPath": "/run/recovery-push-%C",
            "ControlPersist": 30,
        }
        flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return ["ssh", "-i", str(self.key_file), *flags, f"{self.user}@{self.address}"]
