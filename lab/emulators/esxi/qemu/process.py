"""QEMU processes: they die with the emulator (PDEATHSIG), and what a crash left behind is ended at the next start."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.emulators.esxi.backend import BackendError
from lab.emulators.esxi.qemu.arguments import PROGRAM
from lab.logs import last_characters
from lab.networks import qmp
from lab.networks.protocol import NetworkError
from lab.waiting import Deadline, DeadlineExceeded, wait_until

START_SECONDS = 30.0
END_SECONDS = 15.0
JOB_SECONDS = 3600.0
TAG = "recovery-lab-esxi"


@dataclass(frozen=True)
class Qemu:
    """One process with its monitor; ``folder`` is its own."""

    process: subprocess.Popen[bytes]
    folder: Path

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a QMP command. Raises BackendError with QEMU's message."""
        try:
            return qmp.execute(monitor_of(self.folder), command, **arguments)
        except NetworkError as error:
            raise BackendError(str(error)) from error

    def wait_job(self, job: str) -> None:
        """Wait for a block job and complete it. Raises BackendError."""
        wait_until(lambda: self._finished(job), Deadline.after(JOB_SECONDS), f"end of block job {job}", every=0.02)

    def quit(self) -> None:
        """End the process; disks are closed and bitmaps stored."""
        with suppress(BackendError):
            self.execute("quit")
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _finished(self, name: str) -> bool:
        job = next((item for item in self.execute("query-jobs") if item["id"] == name), None)
        if job is None:
            return True
        if job["status"] == "ready":
            self.execute("block-job-complete", device=name)
        if job["status"] != "concluded":
            return False
        self.execute("job-dismiss", id=name)
        if "error" in job:
            raise BackendError(f"block job {name}: {job['error']}")
        return True


class Spawner:
    """Starts QEMU from one thread that lives as long as the emulator: PDEATHSIG follows the thread, not the process."""

    def __init__(self, home: Path) -> None:
        # Sockets have short names: the folder cannot be below the datastore.
        self.folder = Path(tempfile.gettempdir()) / f"{TAG}-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="esxi-spawner")

    def prepare(self) -> list[int]:
        """Make the folder and end what an emulator of the same datastore left behind; return those processes.

        Raises:
            BackendError: the folder is somebody else's.
        """
        self.folder.mkdir(mode=0o700, exist_ok=True)
        status = self.folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise BackendError(f"{self.folder} is not this user's folder")
        ended = [pid for record in sorted(self.folder.glob("*/qemu.pid")) if (pid := self._end_left_over(record))]
        for left in self.folder.iterdir():
            shutil.rmtree(left, ignore_errors=True)
        return ended

    def start(self, name: str, arguments: Sequence[str], ended: Callable[[Qemu], None]) -> Qemu:
        """Start QEMU and wait for its monitor; ``ended`` is called once when the process is gone.

        Raises:
            BackendError: it did not start; the message is QEMU's.
        """
        folder = self.folder / hashlib.sha256(name.encode()).hexdigest()[:12]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        command = ["setpriv", "--pdeathsig", "KILL", "--", PROGRAM, "-name", f"{TAG}:{self.folder.name}:{name}"]
        command += ["-qmp", f"unix:{monitor_of(folder)},server=on,wait=off", "-pidfile", str(folder / "qemu.pid")]
        command += arguments
        process = self._thread.submit(_popen, command, folder / "qemu.log").result(START_SECONDS)
        qemu = Qemu(process, folder)
        _wait_monitor(qemu, name)
        threading.Thread(target=_watch, args=(qemu, ended), name=f"watch {name}", daemon=True).start()
        return qemu

    def close(self) -> None:
        """Release the thread and the folder. Every process has to be gone."""
        self._thread.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end_left_over(self, record: Path) -> int | None:
        """End the process of a record, only when it really is a QEMU of this folder (process ids are reused)."""
        try:
            pid = int(record.read_text(encoding="ascii"))
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        if not any(word.startswith(f"{TAG}:{self.folder.name}:".encode()) for word in words):
            return None
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        proc = Path(f"/proc/{pid}/cmdline")
        wait_until(
            lambda: not proc.exists() or not proc.read_bytes(), Deadline.after(END_SECONDS), f"end of QEMU {pid}"
        )
        return pid


def monitor_of(folder: Path) -> Path:
    """Return the monitor's socket of a process."""
    return folder / "qmp.sock"


def _popen(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as errors:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)


def _wait_monitor(qemu: Qemu, name: str) -> None:
    def answers() -> bool:
        if qemu.process.poll() is not None:
            return True
        with suppress(BackendError):
            qemu.execute("query-status")
            return True
        return False

    try:
        wait_until(answers, Deadline.after(START_SECONDS), f"monitor of {name}", every=0.02)
    except DeadlineExceeded as error:
        qemu.process.kill()
        raise BackendError(str(error)) from error
    if qemu.process.poll() is not None:
        raise BackendError(f"QEMU did not start: {last_characters(qemu.folder / 'qemu.log').strip()}")


def _watch(qemu: Qemu, ended: Callable[[Qemu], None]) -> None:
    qemu.process.wait()
    ended(qemu)
