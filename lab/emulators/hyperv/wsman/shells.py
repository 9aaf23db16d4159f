"""Shells and the commands that run in them, with the limits of a real host (facts/hyperv-and-bmc.md 2)."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.emulators.hyperv.wsman.envelope import NO_SHELL, TOO_MANY_SHELLS, Fault

CHUNK = 32 * 1024
SHELLS_OF_A_USER = 30
"""MaxShellsPerUser of WinRM's default configuration [mem]."""
COMMANDS_OF_A_SHELL = 20
IDLE_SECONDS = 7200.0
EMULATOR_BUG = 70
"""Exit code when the emulator itself broke: it must never look like an error of Windows."""
_GATHER_SECONDS = 0.001

Executor = Callable[["Command"], int]
Chunk = tuple[str, bytes]


class Command:
    """One command line that runs in a thread of its own; its output waits in a queue."""

    def __init__(self, line: str, codepage: int, executor: Executor) -> None:
        self.id = str(uuid.uuid4()).upper()
        self.line, self.codepage = line, codepage
        self.stdin: queue.Queue[bytes | None] = queue.Queue()
        self.cancelled = threading.Event()
        self.exit_code = 0
        self._output: queue.Queue[Chunk | None] = queue.Queue()
        self._kept: Chunk | None = None
        self._receiving = threading.Lock()
        threading.Thread(target=self._run, args=(executor,), name=f"command {self.id}", daemon=True).start()

    def write(self, stream: str, data: bytes) -> None:
        """Add output."""
        for start in range(0, len(data), CHUNK):
            self._output.put((stream, data[start : start + CHUNK]))

    def receive(self, timeout: float, most: int) -> tuple[list[Chunk], bool]:
        """Return output and whether that is the end; waits for some. Raises TimeoutError when nothing came."""
        with self._receiving:
            found: list[Chunk] = []
            size, deadline = 0, time.monotonic() + timeout
            while True:
                try:
                    chunk = self._next(_GATHER_SECONDS if found else max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    if found:
                        return found, False
                    raise TimeoutError from None
                if chunk is None:
                    self._output.put(None)  # whoever asks again is told again
                    return found, True
                if found and size + len(chunk[1]) > most:
                    self._kept = chunk
                    return found, False
                found.append(chunk)
                size += len(chunk[1])

    def _next(self, timeout: float) -> Chunk | None:
        if self._kept is not None:
            kept, self._kept = self._kept, None
            return kept
        return self._output.get(timeout=timeout)

    def _run(self, executor: Executor) -> None:
        try:
            self.exit_code = executor(self)
        except Exception as error:  # noqa: BLE001 - an error in here must reach the test that caused it
            self.write("stderr", f"EMULATOR BUG: {error!r}\r\n".encode())
            self.exit_code = EMULATOR_BUG
        self._output.put(None)


@dataclass
class Shell:
    """A kept shell of one user; ``idle`` in seconds."""

    owner: str
    codepage: int
    streams: tuple[str, str]
    idle: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()).upper())
    commands: dict[str, Command] = field(default_factory=dict)
    touched: float = field(default_factory=time.monotonic)

    def touch(self) -> None:
        """Begin the idle time anew."""
        self.touched = time.monotonic()

    def end(self) -> None:
        """Cancel what runs."""
        for command in list(self.commands.values()):
            command.cancelled.set()

    def command(self, identity: str | None) -> Command:
        """Return a command. Raises Fault."""
        if not identity:
            plugin = ("Shell cmd plugin", "%systemroot%\\system32\\winrscmd.dll")
            raise Fault(87, "The parameter is incorrect. ", "w:InternalError", receiver=True, provider=plugin)
        found = self.commands.get(identity)
        if found is None:
            raise Fault(
                NO_SHELL,
                "The Windows Remote Shell received a request to perform an operation on a command identifier that does "
                "not exist. Either the command has completed execution or the client specified an invalid command "
                "identifier. ",
            )
        return found


class Shells:
    """The shells of all users. A user sees only his own; one that is idle for too long is gone."""

    def __init__(self, most: int = SHELLS_OF_A_USER) -> None:
        self._most = most
        self._shells: dict[str, Shell] = {}
        self._lock = threading.Lock()

    def add(self, shell: Shell) -> None:
        """Keep a shell. Raises Fault when its user has too many."""
        with self._lock:
            self._forget_idle()
            mine = sum(other.owner.casefold() == shell.owner.casefold() for other in self._shells.values())
            if mine >= self._most or shell.id in self._shells:
                raise Fault(
                    TOO_MANY_SHELLS,
                    "The WS-Management service cannot process the request. This user is allowed a maximum number of "
                    f"{self._most} concurrent shells, which has been exceeded. Close existing shells or raise the "
                    "quota for this user. ",
                    "w:QuotaLimit",
                )
            self._shells[shell.id] = shell

    def find(self, owner: str, identity: str | None) -> Shell:
        """Return a shell of this user. Raises Fault."""
        with self._lock:
            self._forget_idle()
            found = self._shells.get(identity or "")
        if found is None or found.owner.casefold() != owner.casefold():
            raise Fault(
                NO_SHELL,
                f"The request for the Windows Remote Shell with ShellId {identity} failed because the shell was not "
                "found on the server. Possible causes are: the specified ShellId is incorrect or the shell no longer "
                "exists on the server. Provide the correct ShellId or create a new shell and retry the operation. ",
            )
        found.touch()
        return found

    def remove(self, shell: Shell) -> None:
        """End a shell."""
        with self._lock:
            self._shells.pop(shell.id, None)
        shell.end()

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            ended = list(self._shells.values())
            self._shells.clear()
        for shell in ended:
            shell.end()

    def _forget_idle(self) -> None:
        now = time.monotonic()
        for shell in [item for item in self._shells.values() if now - item.touched > item.idle]:
            del self._shells[shell.id]
            shell.end()
