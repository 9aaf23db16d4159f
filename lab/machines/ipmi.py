"""Power over IPMI 2.0 by ipmitool, for BMCs without Redfish; off unless asked for.

IPMI gives a hash of the password to anyone who asks (RAKP): only on a network of its own. The password goes to ipmitool
by its environment, because arguments are seen by every user. IPMI has no virtual media; boot flags are not used here.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field

from lab.errors import BadInput
from lab.hypervisors.model import PowerState
from lab.machines.power import BmcError, OutcomeUnknown
from lab.waiting import Deadline, wait_until

PASSWORD_VARIABLE = "IPMI_PASSWORD"  # noqa: S105 - the variable that ipmitool -E reads
ANSWER_SECONDS = 5
CALL_SECONDS = 60.0
SILENT = re.compile(r"(?i)timeout|Unable to set Chassis Power Control")
"""What ipmitool says when no answer came; a refusal is "Set Chassis Power Control to Up/On failed: why"."""
STRAY = "Received an Unexpected"
"""What ipmitool says when an answer came after it had asked once more: there is no session, nothing was asked for."""
TRIES = 3
MOST_PASSWORD = 20
"""Bytes of a password in IPMI 2.0."""
WORDS = 300


@dataclass(frozen=True)
class IpmiTarget:
    """Where a BMC is, and who logs in. ``allowed``: a person has said that IPMI may be used.

    ``cipher_suite``: the one that the BMC is known to have; None to ask for the best, which takes a second more, and
    five where the BMC does not answer that.
    """

    host: str
    user: str
    password: str = field(repr=False)
    port: int = 623
    allowed: bool = False
    cipher_suite: int | None = None


def check(target: IpmiTarget) -> None:
    """Raise BadInput for a BMC that IPMI may not be used with, or cannot."""
    if not target.allowed:
        raise BadInput(f"IPMI at {target.host} is off: it gives a password's hash away; allow it, or use Redfish")
    # A name that begins with a dash would be an option.
    for name in (target.host, target.user):
        if not re.fullmatch(r"[A-Za-z0-9_.:][A-Za-z0-9_.:@-]*", name):
            raise BadInput(f"'{name}' is no name of a host or user for IPMI")
    if len(target.password.encode()) > MOST_PASSWORD:
        raise BadInput(f"the password for IPMI at {target.host} is longer than {MOST_PASSWORD} bytes")


def command(target: IpmiTarget, *words: str) -> list[str]:
    """Return the arguments of ipmitool, without the password. Raises BadInput as ``check``."""
    check(target)
    # -R 1: ipmitool repeats by itself, which a change must not be. -N: seconds for an answer; some act first.
    line = ["ipmitool", "-I", "lanplus", "-E", "-R", "1", "-N", str(ANSWER_SECONDS)]
    if target.cipher_suite is not None:
        line += ["-C", str(target.cipher_suite)]
    return [*line, "-H", target.host, "-p", str(target.port), "-U", target.user, *words]


def environment(target: IpmiTarget) -> dict[str, str]:
    """Return the environment of ipmitool, where the password is."""
    return {**os.environ, PASSWORD_VARIABLE: target.password}


class IpmiPower:
    """Power of one machine. Raises BadInput when nobody has allowed IPMI."""

    def __init__(self, target: IpmiTarget) -> None:
        check(target)
        self._target = target

    def state(self) -> PowerState:
        """Return the present state. Raises BmcError."""
        said = self._ask("chassis", "power", "status").strip()
        found = re.fullmatch(r"Chassis Power is (on|off)", said)
        if found is None:
            raise BmcError(f"{self._target.host}: power status is not understood: {said[:WORDS]}")
        return PowerState(found[1])

    def power_on(self, deadline: Deadline) -> None:
        """Switch on and wait. Raises BmcError, DeadlineExceeded."""
        if self.state() is not PowerState.ON:
            self._change("on")
            self._wait_for(PowerState.ON, deadline)

    def power_off(self, deadline: Deadline) -> None:
        """Cut the power and wait. Raises BmcError, DeadlineExceeded."""
        if self.state() is not PowerState.OFF:
            self._change("off")
            self._wait_for(PowerState.OFF, deadline)

    def press_button(self) -> None:
        """Ask for a shutdown (ACPI). Raises BmcError."""
        if self.state() is PowerState.ON:
            self._change("soft")

    def reset(self, deadline: Deadline) -> None:
        """Restart. Raises BmcError when it is off, OutcomeUnknown: on is on, before and after."""
        if self.state() is not PowerState.ON:
            raise BmcError(f"{self._target.host} is off: it cannot be reset")
        if not self._change("reset"):
            raise OutcomeUnknown(f"{self._target.host}: the BMC did not answer a reset; whether it was made is unknown")
        self._wait_for(PowerState.ON, deadline)

    def _wait_for(self, wanted: PowerState, deadline: Deadline) -> None:
        """Look until the state is ``wanted``. A BMC that has let us in and is silent now is busy with the change."""
        seen = [""]

        def there() -> bool:
            try:
                seen[0] = f"the BMC still says '{self.state()}'"
            except BmcError as error:
                seen[0] = str(error)
            return seen[0] == f"the BMC still says '{wanted}'"

        wait_until(there, deadline, f"power state '{wanted}'", explain=lambda: seen[0])

    def _change(self, what: str) -> bool:
        """Ask for a change, once; False when no answer came. Raises BmcError when it is refused."""
        try:
            self._ask("chassis", "power", what)
        except _NoAnswer:
            return False
        return True

    def _ask(self, *words: str) -> str:
        for _ in range(TRIES - 1):
            with suppress(_Stray):
                return self._ask_once(*words)
        return self._ask_once(*words)

    def _ask_once(self, *words: str) -> str:
        line, variables = command(self._target, *words), environment(self._target)
        try:
            done = subprocess.run(
                line, env=variables, capture_output=True, text=True, timeout=CALL_SECONDS, check=False
            )
        except FileNotFoundError as error:
            raise BmcError("ipmitool is not installed", hint="apt-get install ipmitool") from error
        except subprocess.TimeoutExpired as error:
            raise _NoAnswer(f"{self._target.host}: no answer to `{' '.join(words)}`") from error
        if done.returncode:
            problem = f"{self._target.host}: `{' '.join(words)}`: {done.stderr.strip()[:WORDS]}"
            raise _failure(done.stderr)(problem)
        return done.stdout


def _failure(said: str) -> type[BmcError]:
    if STRAY in said:
        return _Stray
    return _NoAnswer if SILENT.search(said) else BmcError


class _Stray(BmcError):
    """A late answer was taken for another one; nothing was asked for."""


class _NoAnswer(BmcError):
    """Whether what was asked for happened is unknown."""
