"""A lease on a physical machine: a file on it that says which lab works there, until when, and whether it is broken.

Every change compares and swaps under a lock on the machine itself: of two labs that come together one is refused. The
machine's own clock counts, so that labs on different computers agree about what has expired.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, replace
from typing import Protocol

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from lab.errors import LabError
from lab.machines.ssh import Result

PATH = "/var/lib/recovery-lab/lease.json"
LOCK_SECONDS = 10
MOST_BYTES = 1 << 16
CHANGED = 9
"""Exit status of the swap when the file is not what was read."""
# Arguments: digest of what was read or "none", new file or "-", lease file.
SWAP = """
if [ -e "$3" ]; then have=$(sha256sum <"$3" | cut -c1-64); else have=none; fi
[ "$have" = "$1" ] || exit 9
if [ "$2" = - ]; then rm -f "$3"; else mv -f "$2" "$3"; fi
sync
"""


class Leased(LabError):
    """Another lab works with the machine, or it was left broken."""


class LeaseLost(LabError):
    """The lease is not ours any more: it expired and another lab took it, or somebody removed it."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Lease:
    """Who holds a machine. ``expires`` is in seconds of the machine's clock since 1970; ``broken`` says why, or is "".

    ``token`` proves that a lab is the holder: names can be the same.
    """

    owner: str
    token: str
    expires: int
    broken: str = ""


class Shell(Protocol):
    """What is needed of a login: ``SshTransport`` has it."""

    def run(self, *argv: str, stdin: str | None = None, seconds: float = ...) -> Result:
        """Run a program."""

    def check(self, *argv: str, stdin: str | None = None, seconds: float = ...) -> str:
        """Run a program that has to end well."""

    def put(self, content: bytes, path: str, *, mode: int = ...) -> None:
        """Write a file."""


def taken(found: Lease | None, owner: str, now: int, seconds: int, token: str) -> Lease:
    """Return the lease of somebody who comes now. Raises Leased when it cannot be had.

    A broken machine is refused also when its lease has expired: nobody has looked at it since.
    """
    if found is not None and found.broken:
        raise Leased(f"{found.owner} left this machine broken: {found.broken}", hint="mend it, then clear the mark")
    if found is not None and found.expires > now:
        left = found.expires - now
        raise Leased(f"{found.owner} works with this machine for another {left} s", hint="wait, or end that lab")
    return Lease(owner, token, now + seconds)


def renewed(found: Lease | None, token: str, now: int, seconds: int) -> Lease:
    """Return a lease that lasts longer; an expired one that nobody took is still ours. Raises LeaseLost."""
    return replace(held(found, token), expires=now + seconds)


def marked(found: Lease | None, token: str, why: str) -> Lease:
    """Return a lease that says that the machine is broken. Raises LeaseLost, ValueError without a reason."""
    if not why.strip():
        raise ValueError("a broken machine needs a reason")
    return replace(held(found, token), broken=why.strip())


def released(found: Lease | None, token: str) -> Lease | None:
    """Return what is left after a release: nothing, or the mark of a broken machine. Raises LeaseLost."""
    lease = held(found, token)
    # Without the token: nobody holds it, and only ``clear`` leads on.
    return Lease(lease.owner, "", 0, lease.broken) if lease.broken else None


def held(found: Lease | None, token: str) -> Lease:
    """Return the lease if the token is its own. Raises LeaseLost."""
    if found is None or not token or not hmac.compare_digest(found.token, token):
        holder = f"{found.owner} has it" if found is not None else "there is none"
        raise LeaseLost(f"the lease on this machine is not ours any more: {holder}")
    return found


def parse(text: str) -> Lease:
    """Return the lease in a file. Raises Leased for anything else: what is not understood is not overwritten."""
    try:
        return TypeAdapter(Lease).validate_json(text, strict=True)
    except ValueError as error:
        raise Leased(f"{PATH} on this machine is not a lease: {error}", hint="look at it, then remove it") from error


class LeaseFile:
    """The lease on one machine, over a login as root (or as whoever may write ``path``).

    ``token`` proves that it is ours, also in a later process; without one, a new one is made.
    """

    def __init__(self, shell: Shell, path: str = PATH, *, token: str = "") -> None:
        self._shell = shell
        self._path = path
        self._token = token or secrets.token_hex(16)

    @property
    def ours(self) -> bool:
        """Whether we hold it. Raises Leased for a file that is no lease, ConnectionLost, CommandFailed."""
        found, _ = self._read()
        return found is not None and hmac.compare_digest(found.token, self._token)

    def acquire(self, owner: str, seconds: int) -> Lease:
        """Take the machine for so long. Raises Leased, ConnectionLost, CommandFailed."""
        self._shell.check("mkdir", "-p", self._path.rsplit("/", 1)[0])
        found, digest = self._read()
        lease = taken(found, owner, self._now(), seconds, self._token)
        if not self._swap(digest, lease):
            raise Leased("another lab took this machine at the same moment", hint="wait, or end that lab")
        return lease

    def renew(self, seconds: int) -> Lease:
        """Keep the machine for so long from now. Raises LeaseLost, ConnectionLost, CommandFailed."""
        found, digest = self._read()
        return self._keep(digest, renewed(found, self._token, self._now(), seconds))

    def mark_broken(self, why: str) -> Lease:
        """Say that the machine is not as it was found; it stays refused after the release. Raises LeaseLost."""
        found, digest = self._read()
        return self._keep(digest, marked(found, self._token, why))

    def release(self) -> None:
        """Give the machine back. Raises LeaseLost, ConnectionLost, CommandFailed."""
        found, digest = self._read()
        if not self._swap(digest, released(found, self._token)):
            raise LeaseLost("the lease on this machine was changed while it was released")

    def remove_place(self) -> None:
        """Remove what the lease needed beside itself; no effect when a mark stays, or another lab has come."""
        # Under the lock: who waits for it has opened the same file, and makes a new one at his next change.
        script = '[ -e "$1" ] || { rm -f "$1.lock"; rmdir "${1%/*}" 2>/dev/null || true; }'
        lock = ["flock", "-w", str(LOCK_SECONDS), f"{self._path}.lock"]
        self._shell.check(*lock, "sh", "-c", script, "remove", self._path)

    def clear(self) -> None:
        """Remove the mark of a machine that was mended. Raises Leased while somebody works with it."""
        found, digest = self._read()
        if found is None:
            return
        if found.expires > self._now():
            raise Leased(f"{found.owner} works with this machine: its mark is not cleared")
        if not self._swap(digest, None):
            raise Leased("another lab took this machine at the same moment")

    def _keep(self, digest: str, lease: Lease) -> Lease:
        if not self._swap(digest, lease):
            raise LeaseLost("the lease on this machine was changed by somebody else")
        return lease

    def _read(self) -> tuple[Lease | None, str]:
        """Return the lease and the digest of its file."""
        if not self._shell.run("test", "-e", self._path).ok:
            return None, "none"
        text = self._shell.check("head", "-c", str(MOST_BYTES), self._path)
        return parse(text), hashlib.sha256(text.encode()).hexdigest()

    def _swap(self, digest: str, lease: Lease | None) -> bool:
        """Put a lease, or nothing, in the place of what was read; False when that is not there any more."""
        new = "-"
        if lease is not None:
            new = f"{self._path}.{secrets.token_hex(8)}"
            self._shell.put(json.dumps(asdict(lease)).encode(), new, mode=0o600)
        lock = ["flock", "-w", str(LOCK_SECONDS), f"{self._path}.lock"]
        done = self._shell.run(*lock, "sh", "-c", SWAP, "swap", digest, new, self._path)
        if not done.ok and lease is not None:
            self._shell.run("rm", "-f", new)
        if not done.ok and done.status != CHANGED:
            raise LabError(f"the lease on this machine cannot be written: {done.stderr.strip()[-300:]}")
        return done.ok

    def _now(self) -> int:
        return int(self._shell.check("date", "+%s"))
