"""One Azurite blob service: how it is started and how one knows that it serves. Whoever starts it ends it."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.emulators.azurite.account import Account, Certificates, new_account, write_certificates
from lab.emulators.azurite.package import provide
from lab.logs import last_characters
from lab.waiting import Deadline, wait_until

LOOPBACK = "127.0.0.1"
TLS = "tls"
"""The folder of its certificates, in the folder that it was prepared in."""
READY_SECONDS = 120.0
END_SECONDS = 20.0
PROBE_SECONDS = 2.0


@dataclass(frozen=True)
class Azurite:
    """A blob service on this machine's loopback; its content is in ``data``."""

    program: Path
    data: Path
    port: int
    account: Account
    certificates: Certificates

    @property
    def argv(self) -> list[str]:
        """The command; no secret is in it."""
        listen = ["--blobHost", LOOPBACK, "--blobPort", str(self.port), "--location", str(self.data)]
        tls = ["--cert", str(self.certificates.certificate), "--key", str(self.certificates.key)]
        # Telemetry is on unless it is switched off.
        return ["node", str(self.program), *listen, *tls, "--silent", "--disableTelemetry"]

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment: the key is here, where only the owner of the process can read it."""
        return {**os.environ, "AZURITE_ACCOUNTS": f"{self.account.name}:{self.account.key}"}

    @property
    def connection_string(self) -> str:
        """What an SDK on this machine connects with; it holds the key."""
        return self.account.connection_string(LOOPBACK, self.port)

    def wait_ready(self, explain: Callable[[], str]) -> None:
        """Wait until it answers with the certificate that it should have. Raises DeadlineExceeded."""
        deadline = Deadline.after(READY_SECONDS)
        wait_until(self._answers, deadline, f"Azurite on port {self.port}", explain=explain)

    def _answers(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.certificates.ca))
        try:
            with (
                socket.create_connection((LOOPBACK, self.port), PROBE_SECONDS) as plain,
                context.wrap_socket(plain, server_hostname=LOOPBACK),
            ):
                return True
        except (ConnectionError, TimeoutError):
            return False


def prepare(cache: Path, folder: Path, port: int, addresses: tuple[str, ...] = ()) -> Azurite:
    """Return an Azurite with a new account and certificates for the loopback and ``addresses``.

    Raises:
        LabError: it is not installed and cannot be.
    """
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificates = write_certificates(folder / TLS, (LOOPBACK, *addresses))
    return Azurite(provide(cache), data, port, new_account(), certificates)


class LocalAzurite:
    """An Azurite that is a child of this process and ends with it: for tests and measurements.

    ``kill`` is SIGKILL, after which it has forgotten up to five seconds of what it acknowledged.
    """

    def __init__(self, azurite: Azurite, log: Path) -> None:
        self.azurite = azurite
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it serves. Raises DeadlineExceeded with the end of its log."""
        command = ["setpriv", "--pdeathsig", "KILL", *self.azurite.argv]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(self.azurite.environment)
            )
        self.azurite.wait_ready(lambda: last_characters(self._log))

    def stop(self) -> None:
        """End it in order: everything is on disk then."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(END_SECONDS)
            self._process = None

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(END_SECONDS)
            self._process = None


@contextmanager
def running(cache: Path, folder: Path) -> Iterator[LocalAzurite]:
    """Run an Azurite on a free port. Raises LabError, DeadlineExceeded."""
    folder.mkdir(parents=True, exist_ok=True)
    local = LocalAzurite(prepare(cache, folder, free_port()), folder / "azurite.log")
    local.start()
    try:
        yield local
    finally:
        local.kill()


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
