"""Commands and files on a machine that has nothing installed yet, with the OpenSSH client."""

from __future__ import annotations

import io
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
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

    def place(self, folder: str, files: Mapping[str, bytes], *, timeout: float) -> None:
        """Make ``folder`` with these files in it, all in one exchange; only root can read them.

        Raises:
            CommandFailed: they do not arrive.
        """
        place = PurePosixPath(folder)
        with tempfile.TemporaryFile() as bundle:
            with tarfile.open(fileobj=bundle, mode="w") as archive:
                _add(archive, place.name, None)
                for name, content in files.items():
                    _add(archive, f"{place.name}/{name}", content)
            bundle.seek(0)
            extract = ["tar", "--extract", "--file=-", "--preserve-permissions", f"--directory={place.parent}"]
            self.run(extract, timeout=timeout, stdin=bundle)

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


def _add(archive: tarfile.TarFile, name: str, content: bytes | None) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = (tarfile.DIRTYPE, 0o700) if content is None else (tarfile.REGTYPE, 0o600)
    entry.size = len(content or b"")
    archive.addfile(entry, io.BytesIO(content or b""))
