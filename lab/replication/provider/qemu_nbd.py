"""Disk images of machines that are off, served by ``qemu-nbd`` on a unix socket and opened from there.

A server ends with this process (``setpriv --pdeathsig``: that follows the *thread* that started it, so one thread
starts all of them), and by SIGTERM, so that the image is closed properly. What was flushed is in the image in any case.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.replication.changeset import Buffer
from lab.replication.master_target.devices import BadDevice
from lab.replication.provider.lanes import Lanes
from lab.replication.provider.nbd_client import ALLOCATION, NbdDisk
from lab.waiting import Deadline, DeadlineExceeded, wait_until

START_S = 30.0
END_S = 30.0
QCOW2 = "qcow2"
_STARTER = ThreadPoolExecutor(1, thread_name_prefix="qemu-nbd")


class ServedImage:
    """A running ``qemu-nbd``; ``bitmap`` is served along. An image that is only read may be in use elsewhere.

    Raises:
        BadDevice: it does not serve; the message quotes it.
    """

    def __init__(self, image: Path, *, writable: bool, bitmap: str | None = None) -> None:
        self._image = image
        self._folder = Path(tempfile.mkdtemp(prefix="recovery-nbd-"))
        self.socket = self._folder / "disk.sock"
        self._log = self._folder / "log"
        self._process = _STARTER.submit(self._start, _options(image, writable=writable), writable, bitmap).result()
        try:
            wait_until(self._listens, Deadline.after(START_S), f"qemu-nbd of {image}", every=0.02)
        except (BadDevice, DeadlineExceeded) as error:
            self.close()
            raise BadDevice(str(error)) from error

    def close(self) -> None:
        """End the server once it has closed the image."""
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, options: str, writable: bool, bitmap: str | None) -> subprocess.Popen[bytes]:
        server = ["qemu-nbd", "--persistent", "--shared=4", "--socket", str(self.socket), "--image-opts", options]
        more = [*([] if writable else ["--read-only"]), *(["--bitmap", bitmap] if bitmap else [])]
        with self._log.open("wb") as output:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *server, *more],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                umask=0o077,
            )

    def _listens(self) -> bool:
        if self._process.poll() is not None:
            lines = self._log.read_text(errors="replace").strip().splitlines()
            raise BadDevice(f"{self._image} is not served: {lines[-1] if lines else 'no reason given'}")
        return accepts(self.socket)


class ImageDisk:
    """An image that is off, opened for writing: a replica disk of ``size`` bytes.

    Raises:
        BadDevice: it cannot be opened (a machine runs on it), or is too small.
    """

    def __init__(self, image: Path, size: int) -> None:
        self._served = ServedImage(image, writable=True)
        try:
            self._lanes = Lanes(lambda: NbdDisk(self._served.socket, ""))
        except BadDevice:
            self._served.close()
            raise
        if self._lanes.size < size:
            self.close()
            raise BadDevice(f"{image} has {self._lanes.size} bytes, the stream's disk has {size}")

    def read_each(self, places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, Buffer]]:
        """Yield the content of ``(offset, length)``, in this order. Raises BadDevice."""
        return self._lanes.read_ahead(places)

    def write(self, offset: int, data: Buffer) -> None:
        """Write all of ``data``; it is durable after ``flush``, which also says what failed. Raises BadDevice."""
        self._lanes.write(offset, data)

    def flush(self) -> None:
        """Make every write durable. Raises BadDevice."""
        self._lanes.flush()

    def close(self) -> None:
        """Flush, and close the image: a machine may be started on it afterwards."""
        try:
            self._lanes.flush()
        finally:
            self._lanes.close()
            self._served.close()


class ReadImage:
    """An image that is off, opened for reading with some of its bitmaps."""

    def __init__(self, image: Path, bitmaps: Sequence[str] = ()) -> None:
        self._served: list[ServedImage] = []
        self.disks: list[NbdDisk] = []
        try:
            for bitmap in bitmaps or (None,):
                self._served.append(ServedImage(image, writable=False, bitmap=bitmap))
                context = f"qemu:dirty-bitmap:{bitmap}" if bitmap else ALLOCATION
                self.disks.append(NbdDisk(self._served[-1].socket, "", [context]))
        except BadDevice:
            self.close()
            raise

    def close(self) -> None:
        """Close the image."""
        for disk in self.disks:
            disk.close()
        for served in self._served:
            served.close()


def accepts(path: Path) -> bool:
    """Return whether somebody accepts connections at a unix socket; between bind and listen there is its file only."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _options(image: Path, *, writable: bool) -> str:
    # QEMU doubles commas inside of values.
    name = str(image).replace(",", ",,")
    return f"driver={QCOW2},file.driver=file,file.filename={name}" + ("" if writable else ",force-share=on")
