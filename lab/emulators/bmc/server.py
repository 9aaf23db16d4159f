"""The HTTPS front of an emulated BMC on loopback."""

from __future__ import annotations

from pathlib import Path

from lab.emulators.bmc.application import BmcApplication
from lab.emulators.common.wsgi import WsgiFront

COMMON_NAME = "emulated-bmc.localdomain"


class BmcServer(WsgiFront):
    """Serves one emulated BMC; its certificate and key are in ``home``."""

    def __init__(self, application: BmcApplication, home: Path, port: int = 0) -> None:
        super().__init__(application, home, COMMON_NAME, port)
