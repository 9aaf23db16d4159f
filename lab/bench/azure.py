"""Azure rows: a process server's upload against the SDK alone, and a start from a blob against one from a disk.

Storage is Azurite over TLS, the same process for both sides of a comparison.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lab.bench.rows import Row, at_least, close_to_limit, rate
from lab.emulators.azurite.service import running
from lab.errors import LabError
from lab.home import home
from lab.hypervisors.translated import PROCESSOR
from lab.images.cache import ImageCache
from lab.replication.changeset import MAX_PAYLOAD, Disk, Head, data_frame
from lab.replication.common.optimised import Optimised
from lab.replication.common.storage_access import log_name
from lab.replication.document import DocumentWriter
from lab.replication.process_server.storage import StorageForwarder
from lab.replication.vault.azure_storage import AzureStorage
from lab.replication.vault.exports import NbdServers
from lab.replication.vault.storage import MOST_WRITE, PAGE
from lab.waiting import Deadline

UPLOAD, START = "azure-upload", "azure-kernel-start"
UPLOAD_GOAL, START_GOAL = 0.8, 1.5
STREAM = "s-00000000000000be"
DOCUMENT_MIB = 128
RECIPE, IMAGE_BYTES = "debian-12", 900 << 20
BOOT_SECONDS = 180.0
KERNEL_SPEAKS = b"Linux version"
QUIET, LOUD = b"quiet loglevel=4", b"      loglevel=7"


def azure_upload(turns: int) -> Row:
    """Upload a document as a process server does (read, compress, send), and its compressed bytes with the SDK alone.

    Raises:
        LabError: Azurite cannot be installed.
    """
    with tempfile.TemporaryDirectory() as folder, storage_account(Path(folder)) as storage:
        storage.open_stream(STREAM)
        document = _document(Path(folder) / "document", DOCUMENT_MIB)
        prepared = b"".join(Optimised(lambda: document.open("rb")).parts())
        forwarder = StorageForwarder(Path(folder), storage.access(STREAM, 3600))
        with closing(forwarder):
            container = forwarder.open_container()

            def ours() -> None:
                forwarder.send(1, Optimised(lambda: document.open("rb")).parts)

            def theirs() -> None:
                container.get_blob_client(log_name(2)).upload_blob(prepared, overwrite=True, max_concurrency=1)

            # The first upload of each is not counted: connections and modules are made then.
            ours()
            theirs()
            pairs = [(rate(len(prepared), seconds(ours)), rate(len(prepared), seconds(theirs))) for _ in range(turns)]
    return at_least(UPLOAD, "MB/s", pairs, UPLOAD_GOAL)


def azure_kernel_start(turns: int) -> Row:
    """Start QEMU on an overlay over a blob snapshot and on one over the same local file, until the kernel speaks.

    Raises:
        LabError: Azurite or the image cannot be made, or no kernel starts.
    """
    with tempfile.TemporaryDirectory() as folder, storage_account(Path(folder)) as storage:
        image = Path(folder) / "image.raw"
        _speaking_copy(ImageCache(home() / "images").provide(RECIPE, IMAGE_BYTES).disk, image)
        snapshot = _upload_image(storage, image)
        exports = NbdServers(Path(folder) / "exports")
        with closing(exports):
            source = storage.source(STREAM, snapshot, 3600)
            served = exports.serve("bench-replica", {"system": source})["system"]
            blob = f"nbd+unix:///{served.name}?socket={served.socket}"
            local = str(image)
            pairs = [(_start(Path(folder), blob), _start(Path(folder), local)) for _ in range(turns)]
    return close_to_limit(START, "s", pairs, START_GOAL)


@contextmanager
def storage_account(folder: Path) -> Iterator[AzureStorage]:
    """Yield an account of an Azurite that runs inside of the block. Raises LabError when none can be installed."""
    with running(home() / "emulators", folder / "azurite") as local:
        storage = AzureStorage(local.azurite.connection_string, local.azurite.certificates.ca)
        with closing(storage):
            yield storage


def _document(path: Path, mebibytes: int) -> Path:
    """Write a document whose data is half noise, half text-like: compression has something to do, and gains."""
    head = Head(STREAM, 1, "copy", "app1", (Disk(0, "vda", mebibytes << 20),))
    with path.open("wb") as file:
        writer = DocumentWriter(file, head)
        for number in range(mebibytes):
            noise = os.urandom(MAX_PAYLOAD // 2)
            writer.add(data_frame(0, number * MAX_PAYLOAD, noise + noise[: 1 << 10] * (MAX_PAYLOAD >> 11)))
        writer.end()
    return path


def seconds(work: Callable[[], None]) -> float:
    """Return how long ``work`` took."""
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def _speaking_copy(image: Path, copy: Path) -> None:
    """Copy an image whose kernel prints its first line; the copy has no holes that only one side would have."""
    content = image.read_bytes()
    if QUIET not in content:
        raise LabError(f"{image} does not start its kernel with '{QUIET.decode()}'")
    copy.write_bytes(content.replace(QUIET, LOUD))


def _upload_image(storage: AzureStorage, image: Path) -> str:
    size = image.stat().st_size
    etag = storage.create(STREAM, -(-size // PAGE) * PAGE)
    with image.open("rb") as file:
        for offset in range(0, size, MOST_WRITE):
            piece = file.read(MOST_WRITE)
            if piece.count(0) != len(piece):
                etag = storage.write(STREAM, offset, piece, etag)
    return storage.snapshot(STREAM, etag, {})


def _start(folder: Path, backing: str) -> float:
    """Return the seconds from the start of QEMU to the first line of the kernel. Raises LabError."""
    overlay = folder / "overlay.qcow2"
    overlay.unlink(missing_ok=True)
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", backing, str(overlay)]
    subprocess.run(create, check=True, timeout=60)
    command = ["qemu-system-x86_64", "-machine", "pc,accel=tcg", "-cpu", PROCESSOR, "-m", "384", "-display", "none"]
    command += ["-nodefaults", "-serial", "stdio", "-drive", f"file={overlay},if=virtio,format=qcow2"]
    begin = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            _wait_for(process, KERNEL_SPEAKS, Deadline.after(BOOT_SECONDS))
            return time.monotonic() - begin
        finally:
            process.kill()


def _wait_for(process: subprocess.Popen[bytes], words: bytes, deadline: Deadline) -> None:
    output = process.stdout
    if output is None:
        raise LabError("QEMU has no console")
    seen = b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while words not in seen:
            if not selector.select(deadline.remaining):
                raise LabError(f"no kernel started within {deadline.seconds:.0f} s; seen: {seen[-300:]!r}")
            piece = os.read(output.fileno(), 4096)
            if not piece:
                raise LabError(f"QEMU ended before the kernel started; seen: {seen[-300:]!r}")
            seen += piece
