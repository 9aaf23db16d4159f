"""Kept shells of one host over pywinrm, and scripts that run in them to a deadline."""

from __future__ import annotations

import base64
import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from xml.etree.ElementTree import ParseError

from requests.exceptions import RequestException
from winrm.exceptions import InvalidCredentialsError, WinRMError, WinRMOperationTimeoutError, WSManFaultError
from winrm.protocol import Protocol

from lab.hypervisors.hyperv.errors import error_of
from lab.hypervisors.hyperv.script import Queries, render
from lab.hypervisors.protocols import HypervisorError
from lab.waiting import Deadline, DeadlineExceeded

CODEPAGE = 65001
IDLE = "PT1800S"
CALL_SECONDS = 120.0
RECEIVE_SECONDS = 20
NO_SHELL = 2150858843
EMULATOR_REFUSES = 97
SHELL = ("-NoProfile", "-NonInteractive", "-EncodedCommand")
BROKEN = (RequestException, WinRMError, ConnectionError, ParseError, AssertionError)
"""What pywinrm raises when the host, the network or an answer is not as it should be."""

Rows = dict[str, list[dict[str, Any]]]


class Lost(HypervisorError):
    """The connection broke; whether the host has done what was asked is not known."""


class _ShellGone(Lost):
    """The host has forgotten the shell; nothing was begun."""


class Connection:
    """One protocol object with an open shell. Not for two threads at one time: NTLM counts messages."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._shell: str | None = None

    def run(self, script: str, deadline: Deadline) -> tuple[str, str, int]:
        """Run a script; return its output, its errors and its exit code.

        Raises:
            DeadlineExceeded: it did not end in time and was cancelled.
            Lost: the connection broke.
        """
        encoded = base64.b64encode(script.encode("utf-16-le")).decode("ascii")
        arguments = [*SHELL, encoded]
        try:
            shell, command = self._begin(arguments)
        except _ShellGone:
            self._shell = None
            shell, command = self._begin(arguments)
        try:
            return self._receive(shell, command, deadline)
        finally:
            with suppress(*BROKEN):
                self._protocol.cleanup_command(shell, command)

    def close(self) -> None:
        """Close the shell and the connection."""
        with suppress(*BROKEN):
            if self._shell is not None:
                self._protocol.close_shell(self._shell, close_session=True)
        self._shell = None

    def _begin(self, arguments: list[str]) -> tuple[str, str]:
        self._protocol.operation_timeout_sec = RECEIVE_SECONDS
        with _translated():
            if self._shell is None:
                self._shell = self._protocol.open_shell(codepage=CODEPAGE, idle_timeout=IDLE)
            try:
                return self._shell, self._protocol.run_command(self._shell, "powershell", arguments)
            except WSManFaultError as fault:
                if fault.wsman_fault_code == NO_SHELL:
                    raise _ShellGone("it has forgotten the shell") from fault
                raise

    def _receive(self, shell: str, command: str, deadline: Deadline) -> tuple[str, str, int]:
        output, errors = bytearray(), bytearray()
        while not deadline.expired:
            # Not get_command_output, which asks for ever.
            self._protocol.operation_timeout_sec = max(1, math.ceil(deadline.clamp(RECEIVE_SECONDS)))
            with _translated(), suppress(WinRMOperationTimeoutError):
                out, err, code, done = self._protocol.get_command_output_raw(shell, command)
                output += out
                errors += err
                if done:
                    return output.decode("utf-8", "replace"), errors.decode("utf-8", "replace"), code
        raise DeadlineExceeded(f"the host did not finish within {deadline.seconds:.1f} s")


class Session:
    """Connections of one account; each thread that runs a script has one for that time."""

    def __init__(self, host: str, protocol: Callable[[], Protocol]) -> None:
        self._host, self._protocol = host, protocol
        self._free: list[Connection] = []
        self._lock = threading.Lock()

    def read(self, what: str, queries: Queries) -> Rows:
        """Run queries that change nothing; they are repeated once when the connection breaks."""
        try:
            return self.run(what, queries)
        except Lost:
            return self.run(what, queries)

    def run(self, what: str, queries: Queries, deadline: Deadline | None = None) -> Rows:
        """Run queries and return their rows.

        Raises:
            HypervisorError: the host refused (NotFound, Conflict), or the script could not be written.
            Lost: the connection broke; a change may or may not have happened.
            DeadlineExceeded: the host did not finish in time.
        """
        script = render(queries)
        with self._connection(what) as connection:
            output, errors, code = connection.run(script, deadline or Deadline.after(CALL_SECONDS))
        return _rows(what, output, errors, code)

    def close(self) -> None:
        """Close every connection that is free."""
        with self._lock:
            free, self._free = self._free, []
        for connection in free:
            connection.close()

    @contextmanager
    def _connection(self, what: str) -> Iterator[Connection]:
        with self._lock:
            connection = self._free.pop() if self._free else Connection(self._protocol())
        try:
            yield connection
        except DeadlineExceeded as error:
            connection.close()
            raise DeadlineExceeded(f"{what}: {error}") from error
        except HypervisorError as error:
            connection.close()
            kind = Lost if isinstance(error, Lost) else HypervisorError
            raise kind(f"{what}: host {self._host}: {error}") from error
        with self._lock:
            self._free.append(connection)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except WinRMOperationTimeoutError:
        raise
    except InvalidCredentialsError as error:
        raise HypervisorError("it refuses the login") from error
    except WSManFaultError as error:
        raise Lost(f"{error.reason} ({error.wsman_fault_code})") from error
    except BROKEN as error:
        raise Lost(f"it does not answer: {error}") from error


def _rows(what: str, output: str, errors: str, code: int) -> Rows:
    if code == EMULATOR_REFUSES:
        raise HypervisorError(f"{what}: {errors.strip()}")
    try:
        document = json.loads(output.lstrip("\ufeff"))
    except ValueError as error:
        said = (errors or output).strip()[-500:]
        raise HypervisorError(f"{what}: the host did not answer in JSON (exit code {code}): {said}") from error
    if "error" in document:
        raise error_of(what, str(document["error"]["id"]), str(document["error"]["message"]))
    return {name: _unwrapped(rows) for name, rows in document.items()}


def _unwrapped(rows: Any) -> list[Any]:
    """Return an array; Windows PowerShell 5.1 sometimes wraps it into {"value": [...], "Count": n} [mem]."""
    if isinstance(rows, dict) and rows.keys() == {"value", "Count"}:
        rows = rows["value"]
    return list(rows)
