"""One kept SSH connection to a machine (fabric over paramiko), with a known host key and deadlines everywhere."""

from __future__ import annotations

import base64
import io
import logging
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import invoke
import paramiko
from fabric import Connection

from lab.errors import LabError
from lab.hypervisors.model import Endpoint
from lab.machines.runner import AllAtOnce, runner_config
from lab.machines.tunnel import Tunnel, open_tunnel
from lab.waiting import Deadline, DeadlineExceeded, wait_until

CONNECT_SECONDS = 20.0
PATIENT_SECONDS = 60.0
"""For machines inside of translated machines: a login takes more than CONNECT_SECONDS there when the host is busy."""
COMMAND_SECONDS = 120.0
KEEPALIVE_SECONDS = 5
# A machine that is still booting makes paramiko log whole tracebacks; what matters arrives as exceptions.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)
_LOST = (EOFError, OSError, paramiko.SSHException)
_PARAMIKO_CLOSED = "Socket is closed"
NO_STATUS = -1
LINGER_SECONDS = 1.0
"""How long the thread of a dead connection may take to say so."""


class ConnectionLost(LabError):
    """The machine stopped answering in the middle of a command; whether the command ran is unknown."""


class WrongHostKey(ConnectionLost):
    """Another machine or system answers than the one whose host key is known."""


class CommandFailed(LabError):
    """A command ended with a non-zero status."""


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether the status is 0."""
        return self.status == 0


@dataclass(frozen=True)
class Login:
    """What it takes to log in: the user's key and the only host key that is accepted."""

    user: str
    private_key: Path
    host_key: str
    """One line "ssh-ed25519 AAAA..."."""


@dataclass
class SshTransport:
    """Commands and files on one machine. Reconnects when asked to; never runs a command twice by itself."""

    machine: str
    endpoint: Endpoint
    login: Login
    connect_seconds: float = CONNECT_SECONDS
    """How long each step of a login may take."""
    _connection: Connection | None = field(default=None, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def run(self, *argv: str, stdin: str | None = None, seconds: float = COMMAND_SECONDS) -> Result:
        """Run a program; arguments are quoted, no shell text is built.

        Raises:
            ConnectionLost: the connection died meanwhile.
            DeadlineExceeded: the program did not end within ``seconds``.
        """
        return self.shell(shlex.join(argv), stdin=stdin, seconds=seconds)

    def check(self, *argv: str, stdin: str | None = None, seconds: float = COMMAND_SECONDS) -> str:
        """Run a program and return what it printed. Raises CommandFailed with its last words."""
        result = self.run(*argv, stdin=stdin, seconds=seconds)
        if not result.ok:
            words = (result.stderr or result.stdout).strip()[-800:]
            raise CommandFailed(f"{self.machine}: `{shlex.join(argv)[:200]}` ended with {result.status}: {words}")
        return result.stdout

    def shell(self, script: str, *, stdin: str | None = None, seconds: float = COMMAND_SECONDS) -> Result:
        """Run a constant shell script (never one built from input)."""
        source = AllAtOnce(stdin) if stdin is not None else False
        deadline = Deadline.after(seconds)
        try:
            connection = self._open()
            done = connection.run(script, hide=True, warn=True, in_stream=source, timeout=seconds, pty=False)
        except invoke.exceptions.CommandTimedOut as error:
            raise DeadlineExceeded(f"{self.machine}: `{script[:120]}` did not end within {seconds:.0f} s") from error
        except (*_LOST, invoke.exceptions.ThreadException) as error:
            self.close()
            raise ConnectionLost(f"{self.machine}: the connection died during `{script[:120]}`: {error}") from error
        if done.exited == NO_STATUS:
            self._explain_missing_status(connection, script, deadline)
        return Result(int(done.exited), str(done.stdout), str(done.stderr))

    def put(self, content: bytes, path: str, *, mode: int = 0o644) -> None:
        """Write a file. Raises ConnectionLost, CommandFailed when it cannot be written there."""
        try:
            with self._open().sftp().open(path, "wb") as file:
                # Before the content: a secret must never be readable for others, not even for a moment.
                file.chmod(mode)
                file.set_pipelined(pipelined=True)
                file.write(content)
        except _LOST as error:
            raise self._transfer_failed(error, f"writing {path}") from error

    def get(self, path: str) -> bytes:
        """Read a file. Raises ConnectionLost, CommandFailed when there is none."""
        target = io.BytesIO()
        try:
            self._open().sftp().getfo(path, target)
        except _LOST as error:
            raise self._transfer_failed(error, f"reading {path}") from error
        return target.getvalue()

    @contextmanager
    def stream(self, *argv: str) -> Iterator[paramiko.Channel]:
        """Start a program and yield its channel (stdout, stderr merged); closing it hangs the program up."""
        channel = self._transport().open_session(timeout=self.connect_seconds)
        channel.set_combine_stderr(combine=True)
        channel.exec_command(shlex.join(argv))
        try:
            yield channel
        finally:
            channel.close()

    @contextmanager
    def tunnel(self, address: str, port: int) -> Iterator[Tunnel]:
        """Listen on a free port of 127.0.0.1 and carry connections to ``address:port`` as seen by the machine."""
        with open_tunnel(self._transport, address, port) as tunnel:
            yield tunnel

    def boot_id(self) -> str:
        """Return the kernel's boot id, which changes with every boot."""
        return self.check("cat", "/proc/sys/kernel/random/boot_id").strip()

    def wait_ready(
        self,
        deadline: Deadline,
        *,
        unless: Callable[[], None] = lambda: None,
        login_only: bool = False,
    ) -> None:
        """Wait until a login works. Raises DeadlineExceeded with the last reason, and what ``unless`` raises.

        Args:
            deadline: for the first login.
            unless: called after each login that failed; it raises when no other one will do better.
            login_only: do not run a program to see that one runs: whoever waits is about to.
        """
        reason = ["no attempt"]

        def attempt() -> bool:
            try:
                if login_only:
                    return bool(self._open().is_connected)
                return self.run("true", seconds=self.connect_seconds).ok
            except (LabError, TimeoutError, *_LOST) as error:
                self.close()
                reason[0] = str(error)
                unless()
                return False

        wait_until(attempt, deadline, f"SSH login to {self.machine}", explain=lambda: reason[0])

    def reboot(self, deadline: Deadline) -> None:
        """Reboot and wait until the machine is back with another boot id. Raises DeadlineExceeded."""
        before = self.boot_id()
        try:
            self.run("systemctl", "reboot", seconds=self.connect_seconds)
        except (ConnectionLost, DeadlineExceeded):
            self.close()

        def back() -> bool:
            try:
                return self.boot_id() != before
            except (LabError, TimeoutError, *_LOST):
                self.close()
                return False

        wait_until(back, deadline, f"reboot of {self.machine}", every=0.5)

    def close(self) -> None:
        """Drop the connection; the next command opens a new one."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _explain_missing_status(self, connection: Connection, script: str, deadline: Deadline) -> None:
        """Find out why a command ended without a status; no answer means that a signal killed it.

        Raises:
            DeadlineExceeded: we hung up on it (fabric's own check can come too early).
            ConnectionLost: the connection is gone.
        """
        if deadline.expired:
            raise DeadlineExceeded(f"{self.machine}: `{script[:120]}` did not end within {deadline.seconds:.0f} s")
        transport = connection.transport
        if transport is not None:
            transport.join(LINGER_SECONDS)
        if transport is None or not transport.is_active():
            self.close()
            raise ConnectionLost(f"{self.machine}: the connection died during `{script[:120]}`: no status arrived")

    def _transfer_failed(self, error: Exception, doing: str) -> LabError:
        """Tell a file that cannot be from a connection that is gone: SFTP reports both as OSError."""
        alive = self._connection is not None and self._connection.is_connected
        if alive and isinstance(error, OSError) and str(error) != _PARAMIKO_CLOSED:
            return CommandFailed(f"{self.machine}: {doing} failed: {error}")
        self.close()
        return ConnectionLost(f"{self.machine}: the connection died while {doing}: {error}")

    def _transport(self) -> paramiko.Transport:
        transport = self._open().transport
        if not isinstance(transport, paramiko.Transport):
            raise ConnectionLost(f"{self.machine}: not connected")
        return transport

    def _open(self) -> Connection:
        with self._lock:
            if self._connection is None or not self._connection.is_connected:
                self._connection = self._connect()
            return self._connection

    def _connect(self) -> Connection:
        connection = Connection(
            host=self.endpoint.host,
            port=self.endpoint.port,
            user=self.login.user,
            config=runner_config(),
            connect_timeout=self.connect_seconds,
            connect_kwargs={
                "key_filename": str(self.login.private_key),
                "allow_agent": False,
                "look_for_keys": False,
                "banner_timeout": self.connect_seconds,
                "auth_timeout": self.connect_seconds,
            },
        )
        client: paramiko.SSHClient = connection.client
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        kind, encoded = self.login.host_key.split()[:2]
        name = f"[{self.endpoint.host}]:{self.endpoint.port}"
        key = paramiko.PKey.from_type_string(kind, base64.b64decode(encoded))
        client.get_host_keys().add(name, kind, key)
        try:
            connection.open()
        except paramiko.BadHostKeyException as error:
            raise WrongHostKey(f"{self.machine}: the host key at {name} is not the known one") from error
        connection.transport.set_keepalive(KEEPALIVE_SECONDS)
        return connection
