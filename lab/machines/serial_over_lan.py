"""A machine's serial console over its BMC's network (IPMI serial over LAN), recorded into a file by ipmitool.

One client at a time may look at a console. The session ends when the BMC restarts or the network fails, so it is opened
again until the record is closed; what the machine printed in between is lost, and the record says so.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

from lab.machines.ipmi import IpmiTarget, command, environment
from lab.machines.power import BmcError

OPENED = b"SOL Session operational"
"""What ipmitool says once the console is open."""
REFUSED = re.compile(rb"payload (type )?disabled")
"""What it says of a BMC that has no console over LAN: asking again is of no use."""
AGAIN_SECONDS = 5.0
CHUNK = 1 << 16
END_SECONDS = 10.0


class ConsoleOverLan:
    """Records from its making until ``close``. Raises BadInput when nobody has allowed IPMI."""

    def __init__(self, target: IpmiTarget, record: Path) -> None:
        self._command = command(target, "sol", "activate")
        self._release = command(target, "sol", "deactivate")
        self._environment = environment(target)
        self._record = record
        self._ended, self._settled = threading.Event(), threading.Event()
        self._opened = False
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        record.touch(mode=0o600)
        self._thread = threading.Thread(target=self._keep_open, name="serial-over-lan", daemon=True)
        self._thread.start()

    def wait_open(self, seconds: float) -> None:
        """Wait until the console is open: what the machine prints from now on is recorded.

        Raises:
            BmcError: it does not open, or the BMC has none; the message quotes ipmitool.
        """
        if not self._settled.wait(seconds) or not self._opened:
            said = self._said.decode(errors="replace").strip()[-300:]
            raise BmcError(f"no serial console over LAN (waited for at most {seconds:.0f} s): {said or 'no answer'}")

    def close(self) -> None:
        """End the record, and free the console for others."""
        self._ended.set()
        process = self._process
        if process is not None:
            process.terminate()
        self._thread.join(END_SECONDS)
        self._free()

    def _keep_open(self) -> None:
        # Somebody's session that nobody ended keeps all others out.
        self._free()
        while not self._ended.is_set():
            self._follow()
            if REFUSED.search(self._said):
                self._settled.set()
                return
            if self._ended.wait(AGAIN_SECONDS):
                return
            if self._opened:
                self._append(b"\r\n[serial over LAN was interrupted]\r\n")
            self._free()

    def _follow(self) -> None:
        """Record one session to its end."""
        # ipmitool wants a terminal; its end is seen as EIO.
        ours, theirs = pty.openpty()
        try:
            try:
                self._process = subprocess.Popen(
                    self._command, env=self._environment, stdin=theirs, stdout=theirs, stderr=theirs
                )
            finally:
                os.close(theirs)
            self._said, first = b"", True
            with suppress(OSError):
                while data := os.read(ours, CHUNK):
                    first = self._take(data, first=first)
        except OSError as error:
            self._said = str(error).encode()
        finally:
            os.close(ours)
            if self._process is not None:
                self._end(self._process)

    def _take(self, data: bytes, *, first: bool) -> bool:
        """Record what came, and return whether ipmitool's own words may still come."""
        if not first:
            self._append(data)
            return False
        self._said += data
        if OPENED not in self._said or b"\n" not in self._said.partition(OPENED)[2]:
            return True
        self._append(self._said.partition(OPENED)[2].partition(b"\n")[2])
        self._opened = True
        self._settled.set()
        return False

    def _append(self, data: bytes) -> None:
        with self._record.open("ab") as file:
            file.write(data)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_SECONDS)

    def _free(self) -> None:
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(self._release, env=self._environment, capture_output=True, timeout=END_SECONDS, check=False)
