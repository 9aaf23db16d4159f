"""Finds, binds and runs cmdlets: those of PowerShell itself, those of the modules, else an error that says why not."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from lab.emulators.common.faults import Delay, Fail, Faults
from lab.emulators.hyperv.cmdlets.call import Asks, Call, Emulated
from lab.emulators.hyperv.contract.binder import Bound, bind
from lab.emulators.hyperv.contract.tables import Module, Signature
from lab.emulators.hyperv.errors import CmdletError
from lab.emulators.hyperv.host import Host
from lab.emulators.hyperv.powershell import builtins
from lab.emulators.hyperv.powershell.interpreter import Arguments, Interpreter
from lab.emulators.hyperv.powershell.values import PowerShellError, Unsupported
from lab.emulators.hyperv.vmm import Manager


@dataclass(frozen=True)
class Family:
    """A module of the host and its emulated cmdlets by lower-case name."""

    module: Module
    cmdlets: Mapping[str, Emulated]


@dataclass(frozen=True)
class Registry:
    """Implements ``interpreter.Cmdlets`` for one command of a client."""

    host: Host
    families: tuple[Family, ...]
    faults: Faults
    cancelled: threading.Event
    manager: Manager | None = None

    def invoke(self, script: Interpreter, name: str, given: Arguments, piped: list[Any] | None) -> list[Any]:
        """Run a cmdlet. Raises PowerShellError, Unsupported."""
        found = builtins.call(script, name, given, piped)
        if found is not None:
            return found
        for family in self.families:
            signature = family.module.signatures.get(name.casefold())
            if signature is not None:
                return self._run(script, family, signature, given, piped)
            if name.casefold() in family.module.not_emulated:
                raise Unsupported(f"{name} exists in module {family.module.name} but is not emulated")
        message = f"The term '{name}' is not recognized as the name of a cmdlet, function, script file, or program."
        raise PowerShellError(message, "CommandNotFoundException", "ObjectNotFound: (:)")

    def _run(
        self, script: Interpreter, family: Family, signature: Signature, given: Arguments, piped: list[Any] | None
    ) -> list[Any]:
        if piped is None:
            bounds = [bind(family.module, signature, given)]
        else:
            bounds = [bind(family.module, signature, given, item) for item in piped]
        return [found for bound in bounds for found in self._once(script, family, signature, bound)]

    def _once(self, script: Interpreter, family: Family, signature: Signature, bound: Bound) -> list[Any]:
        emulated = family.cmdlets[signature.name.casefold()]
        for name in bound.values:
            if not emulated.takes(name):
                raise Unsupported(f"parameter -{name} of {signature.name} exists but is not emulated")
        _ask(signature, emulated, bound)
        mishap = self.faults.take(signature.name)
        if isinstance(mishap, Fail):
            raise mishap.fault
        if isinstance(mishap, Delay):
            self.cancelled.wait(mishap.seconds)
        call = Call(self.host, family.module, bound, self.cancelled, self.manager, script.assign)
        try:
            with nullcontext() if emulated.waits else self.host.lock:
                return emulated.run(call)
        except CmdletError as error:
            raise error.record(signature.command) from error


def _ask(signature: Signature, emulated: Emulated, bound: Bound) -> None:
    """Raise what PowerShell says when it has to ask and nobody is there."""
    confirmed = bound.get("Confirm") is False
    if bound.get("Confirm") is True:
        confirmed = False
    elif emulated.asks is Asks.WITHOUT_FORCE:
        confirmed = bound.flag("Force")
    elif emulated.asks is Asks.NEVER:
        confirmed = True
    if not confirmed:
        message = "Windows PowerShell is in NonInteractive mode. Read and Prompt functionality is not available."
        raise PowerShellError(message, f"InvalidOperation,{signature.command}", "InvalidOperation: (:)")
