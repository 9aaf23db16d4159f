"""Taking disks back from Azure: read from the vault over 443, all of them or what differs by digests (seed L111)."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import OK

from lab.replication.changeset import Buffer
from lab.replication.common.control import CommandFailed
from lab.replication.common.link import Body, Link, Reply
from lab.replication.digests import ChunkDigests
from lab.replication.extents import is_zero
from lab.replication.master_target.devices import BlockDevice

CHUNK = 256 << 10
BATCH_CHUNKS = 256
READ = 1 << 20


class Puller:
    """Writes the disks that the vault has of ``machine`` to images of this host."""

    def __init__(self, link: Link, machine: str) -> None:
        self._link = link
        self._machine = machine

    def everything(self, disk: str, device: BlockDevice, size: int) -> int:
        """Write all of a disk to an image that reads as zeros; return how many bytes were read."""
        for offset in range(0, size, READ):
            content = self._read(disk, offset, min(READ, size - offset))
            if not is_zero(content):
                device.write(offset, content)
        device.flush()
        return size

    def differences(self, disk: str, device: BlockDevice, size: int) -> int:
        """Write what differs; return how many bytes were read."""
        read = 0
        for first, digests in self._batches(device, size):
            path = f"{self._path(disk)}/compare?chunk={CHUNK}&first={first}"
            reply = self._checked(self._link.send("POST", path, _body(digests)))
            for number in reply.json["differ"]:
                offset = int(number) * CHUNK
                content = self._read(disk, offset, min(CHUNK, size - offset))
                device.write(offset, content)
                read += len(content)
        device.flush()
        return read

    def _batches(self, device: BlockDevice, size: int) -> Iterator[tuple[int, bytes]]:
        chunks = ChunkDigests(CHUNK)
        step = CHUNK * BATCH_CHUNKS
        for start in range(0, size, step):
            offsets = range(start, min(start + step, size), CHUNK)
            places = ((at, min(CHUNK, size - at)) for at in offsets)
            yield start // CHUNK, b"".join(chunks.of(content) for _, content in device.read_each(places))

    def _read(self, disk: str, offset: int, length: int) -> bytes:
        reply = self._checked(self._link.call("GET", f"{self._path(disk)}?offset={offset}&length={length}"))
        if len(reply.body) != length:
            raise CommandFailed("disk-too-small", f"disk {disk} of {self._machine} ends before {offset + length}")
        return reply.body

    def _path(self, disk: str) -> str:
        return f"/v1/exports/{self._machine}/{disk}"

    def _checked(self, reply: Reply) -> Reply:
        if reply.status != OK:
            raise CommandFailed("not-handed-back", f"{self._machine}: HTTP {reply.status} {reply.json.get('error')}")
        return reply


def _body(digests: Buffer) -> Body:
    return Body(lambda: [digests], len(digests))
