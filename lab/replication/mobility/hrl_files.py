"""The files of changes that wait: what is known of a document, and where its ``.hrl`` files are."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.replication.changeset import Head
from lab.replication.common.durable import JSON


@dataclass(frozen=True)
class PendingDocument:
    """A document that waits: its head, the sizes of its disks' files, and the totals of its end frame."""

    head: Head
    sizes: dict[int, int]
    frames: int
    raw_bytes: int
    closes_cut: bool

    def to_json(self) -> JSON:
        """Return what ``from_json`` reads."""
        sizes = {str(disk): size for disk, size in self.sizes.items()}
        return {**vars(self), "head": self.head.to_json(), "sizes": sizes}

    @classmethod
    def from_json(cls, value: JSON) -> PendingDocument:
        """Read the content of ``<sequence>.json``."""
        sizes = {int(disk): int(size) for disk, size in value["sizes"].items()}
        head = Head.from_json(value["head"])
        return cls(head, sizes, int(value["frames"]), int(value["raw_bytes"]), bool(value["closes_cut"]))

    def renumbered(self, sequence: int) -> PendingDocument:
        """Return the same document under another sequence; the name of its point follows."""
        point = f"{self.head.stream}-{sequence}" if self.head.recovery_point else None
        return replace(self, head=replace(self.head, sequence=sequence, recovery_point=point))


@dataclass(frozen=True)
class HrlPlaces:
    """Where the ``.hrl`` files of a stream are: in ``directory``, or in the folders that ``beside`` gives by disk.

    Such a folder may hold the files of other streams: ``prefix`` tells them apart.
    """

    directory: Path
    beside: Mapping[int, Path] = field(default_factory=dict)
    prefix: str = ""

    @property
    def folders(self) -> set[Path]:
        """Every folder that may have one."""
        return {self.directory, *self.beside.values()}

    def path(self, sequence: int, disk: int) -> Path:
        """Return the name of a disk's file of changes."""
        return self.beside.get(disk, self.directory) / f"{self.prefix}{sequence:012}-{disk}.hrl"

    def found(self) -> Iterator[tuple[int, Path]]:
        """Yield sequence and name of every file that is there."""
        for folder in sorted(self.folders):
            for path in folder.glob(f"{glob.escape(self.prefix)}*-*.hrl"):
                sequence = path.stem.removeprefix(self.prefix).partition("-")[0]
                if sequence.isdigit():
                    yield int(sequence), path
