"""The IPMI side of an emulated BMC: virtualbmc before the same machine. Power and boot source, no serial over LAN.

virtualbmc's daemon is not used: its control port asks nobody who he is. Cables and the choice for one boot are the
Redfish side's (``BmcApplication.boot``), so that a machine is the same whoever starts it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from lab.emulators.bmc.application import CablingFailed
from lab.emulators.common.home import CannotStart

LOOPBACK = "127.0.0.1"
MOST_PASSWORD = 20
"""Bytes of a password in IPMI 2.0."""
ON, BUSY, NOT_NOW = 1, 0xC0, 0xD5
"""virtualbmc's word for a machine that is on, and IPMI's codes for "later perhaps" and "not in this state"."""
CIPHER_SUITE = 3
"""The only one that virtualbmc has (HMAC-SHA1 and AES)."""
CONSOLE = "no serial over LAN: the console is libvirt's file"
"""What clients have to know: virtualbmc answers the activation of that payload with "disabled"."""


@dataclass(frozen=True)
class Behind:
    """The machine behind it: what libvirt calls it, and where that libvirt is."""

    domain: str
    uri: str


def serve_ipmi(account: tuple[str, str], behind: Behind, boot: Callable[[Callable[[], bool]], None]) -> int:
    """Answer IPMI on a free UDP port of 127.0.0.1 for as long as this process lives, and return the port.

    Args:
        account: user and password.
        behind: the machine.
        boot: starts it by what it is given, with all that belongs to a start.

    Raises:
        CannotStart: virtualbmc is not installed, or the password is too long for IPMI.
    """
    if len(account[1].encode()) > MOST_PASSWORD:
        raise CannotStart(f"IPMI knows no password of more than {MOST_PASSWORD} bytes: choose a shorter one")
    try:
        from virtualbmc.vbmc import VirtualBMC
    except ImportError as error:
        message = "virtualbmc is not installed: pip install 'recovery-lab[dev]' (or make bootstrap)"
        raise CannotStart(message) from error

    class Cabled(VirtualBMC):  # type: ignore[misc]
        """virtualbmc whose machine gets its cables at every start, and boots what is stored at every reset."""

        def power_on(self) -> int | None:
            """Start the machine; return a completion code, None for success."""
            if self.get_power_state() == ON:
                return None
            code: list[int | None] = []

            def start() -> bool:
                code.append(super(Cabled, self).power_on())
                return code[0] is None

            try:
                boot(start)
            except CablingFailed:
                return BUSY
            return code[0]

        def power_reset(self) -> int | None:
            """Start the machine anew; return a completion code, None for success."""
            if self.get_power_state() != ON:
                return NOT_NOW
            return self.power_off() or self.power_on()

    port = _free_port()
    try:
        server = Cabled(*account, port=port, address=LOOPBACK, domain_name=behind.domain, libvirt_uri=behind.uri)
    except OSError as error:
        raise CannotStart(f"port {port} (UDP) of {LOOPBACK} cannot be used: {error.strerror}") from error
    # One loop for all of pyghmi, and it knows no end: it goes with the process.
    threading.Thread(target=server.listen, name="ipmi", daemon=True).start()
    return port


def _free_port() -> int:
    # Port 0 will not do: pyghmi takes the number that it was given for the one that it is called at.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
