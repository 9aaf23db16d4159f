"""A libvirt connection to a host that may be off and come back: opened when needed, and again when it is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import libvirt

from lab.errors import LabError
from lab.hypervisors.protocols import Unreachable


class ReopenedConnection:
    """Whatever libvirt's connection has, of one that lives.

    Args:
        host: for messages.
        open_now: connects and prepares the host. Raises libvirtError, LabError.
    """

    def __init__(self, host: str, open_now: Callable[[], Any]) -> None:
        self._host = host
        self._open_now = open_now
        self._lock = threading.Lock()
        self._live: Any = None

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the connection. Raises Unreachable when the host is away."""
        return getattr(self._connected(), name)

    def close(self) -> None:
        """Close the connection if there is one."""
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            live.close()

    def _connected(self) -> Any:
        with self._lock:
            try:
                if self._live is None or not self._live.isAlive():
                    self._live = self._open_now()
            except (libvirt.libvirtError, LabError) as error:
                self._live = None
                raise Unreachable(f"hypervisor host {self._host} does not answer: {error}") from error
            return self._live
