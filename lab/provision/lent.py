"""Machines that are there already and only lent: taken with a lease, given back as they were.

What the lab itself changes on one: its lease, and its two public keys in root's ``authorized_keys2``. What the
stack changes its uninstaller takes back. Everything that an owner would notice is written down before and compared
afterwards; a machine that is not as it was found is marked broken.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.hypervisors.libvirt import switches_of
from lab.hypervisors.model import Endpoint, PowerState
from lab.machines.drift import Change, Record, drift, look
from lab.machines.lease_file import PATH, LeaseFile
from lab.machines.ssh import Login, SshTransport
from lab.networks.bridge import BridgeSwitches
from lab.networks.protocol import NetworkError
from lab.provision.bmc import LEASE_SECONDS
from lab.provision.board import Board
from lab.provision.home import LabFolder
from lab.provision.processes import spawn
from lab.provision.state import LabState, LentAccess, save_state
from lab.topology.model import Topology
from lab.topology.networks import SwitchNetwork
from lab.waiting import Deadline, DeadlineExceeded, wait_until

LEASE = PATH
AUTHORIZED = "/root/.ssh/authorized_keys2"
"""sshd reads it too, and what sets a machine's ``authorized_keys`` anew at each boot leaves it alone."""
FIRST_LOGIN_SECONDS = 60.0
RESTART_SECONDS = 900.0
UNINSTALL_SECONDS = 300.0
MOST_NAMED = 3
"""Changes that a mark of brokenness names."""
ADD_KEYS = 'umask 077; mkdir -p "${1%/*}"; cat >>"$1"'
REPLACE = 'cat >"$1"'
UNINSTALL = "cd /opt/recovery/current && exec env PYTHONPATH=. python3 -m lab.replication.uninstall"
UNFINISHED = "rm -rf /var/tmp/recovery-*"
"""What a push installation that was killed has left."""
CAPTURING = "ls /dev/mapper/mobility-* >/dev/null 2>&1"
NOTHING = "nothing"
"""The report of a machine that is as it was found."""
NO_CONSOLE = "not-recorded"


@dataclass(frozen=True)
class LentControl:
    """A machine that nobody here may switch. Whether it has power is not known: who asks means whether it answers."""

    name: str
    access: LentAccess
    folder: LabFolder

    def power(self) -> PowerState:
        """Return "on" when it lets us log in, else "off"."""
        try:
            with _logged_in(self.name, self.access) as shell:
                return PowerState.ON if shell.run("true", seconds=FIRST_LOGIN_SECONDS).ok else PowerState.OFF
        except (LabError, TimeoutError, OSError):
            return PowerState.OFF

    def power_on(self) -> None:
        """Refuse. Raises LabError."""
        raise LabError(f"{self.name} is only lent: nobody here switches it")

    def power_off(self) -> None:
        """Refuse. Raises LabError."""
        raise LabError(f"{self.name} is only lent: nobody here switches it")

    @property
    def console(self) -> Path:
        """No such file: nobody records it."""
        return self.folder.processes / NO_CONSOLE


def take_lent(topology: Topology, folder: LabFolder, state: LabState, board: Board) -> LabState:
    """Take every lent machine, write down how it is, and let the lab's keys in.

    Raises:
        LabError: a machine does not answer, is another one (``WrongHostKey``), works for somebody else or was left
            broken (``Leased``). What was taken before is given back by ``give_back_lent``.
    """
    for name, found in topology.lent.items():
        board.step(name, "lease")
        access = LentAccess(
            ssh_host=found.address,
            ssh_port=found.port,
            key=(topology.source.parent / found.key.file).resolve(),
            host_key=found.host_key,
            lease=secrets.token_hex(16),
        )
        # First of all: the reaper has to know whom to ask.
        state = state.model_copy(update={"lent": {**state.lent, name: access}})
        save_state(folder, state)
        with _logged_in(name, access) as shell:
            LeaseFile(shell, LEASE, token=access.lease).acquire(folder.name, LEASE_SECONDS)
            board.step(name, "looking at how it is")
            _remember(folder, name, look(shell), _authorized(shell))
            lines = _public_keys(folder)
            shell.check("sh", "-c", ADD_KEYS, "add", AUTHORIZED, stdin="\n".join(["", *lines, ""]))
        board.step(name, "ready")
    if topology.lent:
        argv = [sys.executable, "-m", "lab.provision.lease_keeper", "--lab", folder.name, "--folder", str(folder.path)]
        spawn(folder, "lease-keeper-lent", [*argv, "--lent"], os.environ)
    return state


def join_uplinks(topology: Topology, folder: LabFolder) -> None:
    """Join the interfaces that lead to lent machines to the lab's switches. Raises LabError."""
    for name, network in topology.networks.items():
        if not isinstance(network, SwitchNetwork) or network.uplink is None:
            continue
        switches = switches_of(next(iter(topology.libvirt_uris)), folder.name, folder.path.parent)
        if not isinstance(switches, BridgeSwitches):
            raise LabError(f"network {name}: an uplink needs a libvirt that runs as root")
        try:
            switches.join(name, network.uplink)
        except NetworkError as error:
            raise LabError(f"network {name}: its uplink cannot be had: {error}") from error


def renew_lent(name: str, access: LentAccess) -> None:
    """Keep a lent machine. Raises LeaseLost, LabError."""
    with _logged_in(name, access) as shell:
        LeaseFile(shell, LEASE, token=access.lease).renew(LEASE_SECONDS)


def give_back_lent(folder: LabFolder, state: LabState, reports: Path, board: Board) -> list[str]:
    """Take everything back that was changed on lent machines and end their leases; return what was done.

    A report of what is not as it was found goes to ``reports``. A machine whose lease is not ours stays as it is.

    Raises:
        LabError: a machine could not be given back; the message names all of them.
    """
    done, failures = [], []
    for name, access in state.lent.items():
        try:
            if _give_back(folder, name, access, reports, board):
                done.append(f"lease on {name}")
        except (LabError, DeadlineExceeded, OSError) as error:
            failures.append(f"{name}: {error}")
    if failures:
        raise LabError("; ".join(failures))
    return done


def drift_report(reports: Path, name: str) -> Path:
    """Return the file that says what is not as it was found on a machine."""
    return reports / f"drift-{name}.txt"


def _give_back(folder: LabFolder, name: str, access: LentAccess, reports: Path, board: Board) -> bool:
    with _logged_in(name, access) as shell:
        lease = LeaseFile(shell, LEASE, token=access.lease)
        if not lease.ours:
            return False
        lease.renew(int(LEASE_SECONDS + RESTART_SECONDS))
        board.step(name, "taking the stack off")
        take_off(shell)
        known = _recalled(folder, name)
        if known is not None:
            before, keys = known
            _restore_keys(shell, folder, keys)
            if ("mode", AUTHORIZED.rsplit("/", 1)[0]) not in before:
                shell.check("rmdir", "--ignore-fail-on-non-empty", AUTHORIZED.rsplit("/", 1)[0])
            _report(drift(before, look(shell)), lease, drift_report(reports, name), board, name)
        lease.release()
        lease.remove_place()
    return True


def take_off(shell: SshTransport) -> None:
    """Take the reference stack's agent off a machine, with a restart unless nothing is captured. Raises LabError."""
    if shell.run("test", "-e", "/opt/recovery/current").ok:
        shell.check("sh", "-c", UNINSTALL, seconds=UNINSTALL_SECONDS)
    shell.check("sh", "-c", UNFINISHED)
    if shell.run("sh", "-c", CAPTURING).ok:
        shell.reboot(Deadline.after(RESTART_SECONDS))
        wait_started(shell)
    if shell.run("sh", "-c", CAPTURING).ok:
        raise LabError("it was restarted, and its writes are captured still")


def wait_started(shell: SshTransport) -> None:
    """Wait until nothing is being started any more: until then systemd answers late or not at all."""

    def started() -> bool:
        return shell.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    wait_until(started, Deadline.after(RESTART_SECONDS), "end of its start", every=2)


def _report(changes: tuple[Change, ...], lease: LeaseFile, file: Path, board: Board, name: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{change}\n" for change in changes) or f"{NOTHING}\n", encoding="utf-8")
    board.step(name, f"not as it was found: {len(changes)} things, see {file}" if changes else "as it was found")
    if changes:
        named = ", ".join(str(change) for change in changes[:MOST_NAMED])
        lease.mark_broken(f"{len(changes)} things are not as they were found: {named}")


def _restore_keys(shell: SshTransport, folder: LabFolder, before: str | None) -> None:
    """Take the lab's keys out of the file; what somebody else has added meanwhile stays."""
    ours = set(_public_keys(folder))
    lines = [line for line in (_authorized(shell) or "").splitlines() if line not in ours]
    same = "\n".join(lines).strip() == (before or "").strip()
    if same and before is None:
        shell.check("rm", "-f", AUTHORIZED)
    else:
        text = before if same and before is not None else "\n".join([*lines, ""])
        shell.check("sh", "-c", REPLACE, "replace", AUTHORIZED, stdin=text)


def _authorized(shell: SshTransport) -> str | None:
    return shell.check("cat", AUTHORIZED) if shell.run("test", "-e", AUTHORIZED).ok else None


def _public_keys(folder: LabFolder) -> list[str]:
    paths = sorted(folder.login_key.parent.glob("*.pub"))
    return [path.read_text(encoding="ascii").strip() for path in paths]


def _remember(folder: LabFolder, name: str, record: Record, keys: str | None) -> None:
    file = _memory(folder, name)
    file.parent.mkdir(mode=0o700, exist_ok=True)
    document = {"record": [[*key, value] for key, value in record.items()], "authorized_keys": keys}
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(document), encoding="utf-8")
    temporary.replace(file)


def _recalled(folder: LabFolder, name: str) -> tuple[Record, str | None] | None:
    """Return how a machine was, None when the lab died before it had looked: then it has changed nothing either."""
    file = _memory(folder, name)
    if not file.exists():
        return None
    document = json.loads(file.read_text(encoding="utf-8"))
    return {(kind, item): value for kind, item, value in document["record"]}, document["authorized_keys"]


def _memory(folder: LabFolder, name: str) -> Path:
    return folder.path / "lent" / f"{name}.json"


@contextmanager
def _logged_in(name: str, access: LentAccess) -> Iterator[SshTransport]:
    """Log in with the owner's key. Raises LabError, WrongHostKey."""
    login = Login("root", access.key, access.host_key)
    shell = SshTransport(name, Endpoint(access.ssh_host, access.ssh_port), login)
    try:
        if not access.key.is_file():
            raise LabError(f"machine {name} is lent, and its key {access.key} is not there")
        yield shell
    except (TimeoutError, OSError) as error:
        raise LabError(f"machine {name} at {access.ssh_host}:{access.ssh_port} does not answer: {error}") from error
    finally:
        shell.close()
