"""Scripts of recovery plans: files that an administrator put into one folder of the configuration server.

A plan only names one. It runs as its own process, without rights (``nobody`` when the server is root), without a
shell, with an environment of its own, in a session of its own that is killed as a whole when its time is over.
Nothing is passed on its command line; it finds what it has to know in ``RECOVERY_*`` variables.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.replication.configuration_server.ca import NAME
from lab.replication.configuration_server.errors import BadRequest

MOST_OUTPUT = 4096
CHUNK = 65536
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class Ended:
    """How a script ended, and the end of what it printed."""

    ok: bool
    detail: str


@dataclass(frozen=True)
class Scripts:
    """The scripts in ``folder``; ``user`` runs them when the server itself is root."""

    folder: Path
    user: str

    def find(self, name: str) -> Path:
        """Return the file of a script.

        Raises:
            BadRequest: there is none of that name, or others than the administrator could have written it.
        """
        # A name has neither a slash nor a dot, so it cannot lead out of the folder.
        if not NAME.match(name):
            raise BadRequest(f"{name!r} is not the name of a script")
        path = self.folder / name
        try:
            facts, folder = path.lstat(), self.folder.stat()
        except OSError:
            raise BadRequest(f"no script {name!r} is registered on the configuration server") from None
        if not stat.S_ISREG(facts.st_mode) or not facts.st_mode & stat.S_IXUSR:
            raise BadRequest(f"script {name!r} is not an executable file")
        for found in (facts, folder):
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or found.st_uid not in (0, os.geteuid()):
                raise BadRequest(f"script {name!r} or its folder can be written by others than the administrator")
        return path

    async def run(self, name: str, facts: Mapping[str, str], seconds: float) -> Ended:
        """Run a script with ``facts`` as environment; one that takes longer than ``seconds`` is killed."""
        try:
            process = await asyncio.create_subprocess_exec(
                str(self.find(name)),
                env={**ENVIRONMENT, **facts},
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,
                **self._identity(),
            )
        except (BadRequest, OSError, KeyError) as error:
            return Ended(ok=False, detail=f"{name} could not be started: {error}")
        try:
            async with asyncio.timeout(seconds):
                output = await _last_of(process)
                code = await process.wait()
        except TimeoutError:
            return Ended(ok=False, detail=f"{name} was killed after {seconds:.0f} s")
        finally:
            await _end(process)
        return Ended(code == 0, f"exit code {code}: {output}".rstrip(": "))

    def _identity(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        entry = pwd.getpwnam(self.user)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


async def _last_of(process: asyncio.subprocess.Process) -> str:
    """Read to the end, so that the script never blocks, and return the end of it."""
    kept = b""
    while process.stdout is not None and (data := await process.stdout.read(CHUNK)):
        kept = (kept + data)[-MOST_OUTPUT:]
    return kept.decode(errors="replace").strip()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a script that is still running, with everything that it has started."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
