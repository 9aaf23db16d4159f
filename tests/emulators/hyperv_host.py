"""An emulated Hyper-V host without QEMU, and how scripts are run on it without a client."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.emulators.hyperv.cmdlets.registry import Registry
from lab.emulators.hyperv.emulator import Emulator, Settings, families
from lab.emulators.hyperv.memory import MemoryBackend
from lab.emulators.hyperv.powershell.interpreter import Outcome, run
from lab.emulators.hyperv.powershell.values import Record
from lab.emulators.hyperv.wsman.server import WsmanServer

USER, PASSWORD = "lab", "a password with spaces & <signs>"
STOP = "$ErrorActionPreference = 'Stop'; $ProgressPreference = 'SilentlyContinue'; "


@contextmanager
def emulator(home: Path, name: str = "HV01", **settings: Any) -> Iterator[Emulator]:
    home.mkdir(parents=True, exist_ok=True)
    found = Emulator(Settings(name, {USER: PASSWORD, "other": PASSWORD}, **settings), home, MemoryBackend("x"))
    try:
        yield found
    finally:
        found.close()


@contextmanager
def server(home: Path, *, tls: bool = True, **settings: Any) -> Iterator[tuple[Emulator, WsmanServer]]:
    with emulator(home, **settings) as found:
        serving = WsmanServer(found.service, found.accounts, home, tls=tls).start()
        try:
            yield found, serving
        finally:
            serving.close()


def outcome(found: Emulator, script: str) -> Outcome:
    """Run a script that stops at its first error."""
    return run(STOP + script, Registry(found.host, families(), found.faults, threading.Event(), found.manager))


def output(found: Emulator, script: str) -> list[Any]:
    """Return the output of a script that has to work; of objects, their properties."""
    ended = outcome(found, script)
    assert not ended.errors, [f"{error} ({error.fqid})" for error in ended.errors]
    return [dict(item.properties) if isinstance(item, Record) else item for item in ended.output]


def error(found: Emulator, script: str) -> str:
    """Return the FullyQualifiedErrorId of a script that has to fail."""
    [record] = outcome(found, script).errors
    return record.fqid
