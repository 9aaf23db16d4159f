"""pywinrm's transport over an emulator in the same process: every byte is made and parsed, no socket is opened."""

from __future__ import annotations

from winrm.exceptions import WinRMTransportError

from lab.emulators.hyperv.emulator import Emulator
from lab.emulators.hyperv.wsman.service import OK, Caller, Dropped

ENDPOINT = "http://127.0.0.1:5985/wsman"


class InProcessTransport:
    """What ``winrm.protocol.Protocol`` needs of a transport, for one user."""

    def __init__(self, emulator: Emulator, user: str) -> None:
        self._emulator = emulator
        self._caller = Caller(f"{emulator.settings.name}\\{user}", "127.0.0.1", ENDPOINT)

    def send_message(self, message: str | bytes) -> bytes:
        """Return an answer. Raises WinRMTransportError as over HTTP, ConnectionError for a dropped connection."""
        body = message if isinstance(message, bytes) else message.encode()
        try:
            status, answer = self._emulator.service.handle(self._caller, body)
        except Dropped as error:
            raise ConnectionError("Remote end closed connection without response") from error
        if status != OK:
            raise WinRMTransportError("http", status, answer.decode())
        return answer

    def close_session(self) -> None:
        """Do nothing: there is no connection."""
