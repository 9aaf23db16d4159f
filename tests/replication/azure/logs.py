"""Documents as agents make them, and what the disks are after each: the oracle of the tests here."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass, field

from lab.replication.changeset import CutTime, Disk, Frame, Head, data_frame
from lab.replication.document import DocumentWriter
from lab.replication.vault.settings import StreamSettings

PAGE = 512
SIZES = {0: 1 << 20, 1: 1 << 18}
STREAM = "s-0123456789abcdef"


def settings(**more: object) -> StreamSettings:
    disks = [{"index": i, "name": f"disk{i}", "size": size, "serial": f"disk{i}"} for i, size in SIZES.items()]
    return StreamSettings.from_json({"stream": STREAM, "machine": "app1", "disks": disks, "retention_s": 7200, **more})


@dataclass
class Source:
    """A machine whose writes become documents; ``images[n]`` are its disks after document n."""

    stream: str = STREAM
    random: random.Random = field(default_factory=lambda: random.Random(7))
    documents: dict[int, bytes] = field(default_factory=dict)
    images: dict[int, dict[int, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._disks = {index: bytearray(size) for index, size in SIZES.items()}

    def delta(self, writes: int = 12, *, point: bool = True, largest: int = 64, second: int = 0) -> int:
        sequence = len(self.documents) + 1
        frames = [self._write(largest) for _ in range(writes)]
        cut = CutTime(sequence * 10**9, sequence * 10**9 + second, "2026-01-01T00:00:00Z") if point else None
        head = Head(
            self.stream,
            sequence,
            "delta" if point else "copy",
            "app1",
            tuple(Disk(index, f"disk{index}", size) for index, size in SIZES.items()),
            cut,
            f"point-{sequence}" if point else None,
        )
        sink = io.BytesIO()
        writer = DocumentWriter(sink, head)
        for frame in frames:
            writer.add(frame)
        writer.end()
        self.documents[sequence] = sink.getvalue()
        self.images[sequence] = {index: bytes(disk) for index, disk in self._disks.items()}
        return sequence

    def _write(self, largest: int) -> Frame:
        index = self.random.randrange(len(SIZES))
        length = PAGE * self.random.randint(1, largest)
        offset = PAGE * self.random.randrange((SIZES[index] - length) // PAGE + 1)
        data = bytes(length) if self.random.random() < 0.25 else self.random.randbytes(length)
        self._disks[index][offset : offset + length] = data
        return data_frame(index, offset, data)
