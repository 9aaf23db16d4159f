"""The record of a machine that was shut down in an orderly way: with it the next boot goes on where the last one ended.

Three take part. The service, when it ends, notes in ``ENDING`` which log areas are in use. The last program of a
shutdown (``boot/ending.sh``, when nothing is mounted for writing any more) ends the logs, and writes the note to the
change-log disk, at ``RECORD_BYTE``. The boot script takes it away there before the first write, logs to the other
areas, and leaves it in ``ENDED``. Who loses power has no record, or one of another boot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lab.replication.common.durable import write_atomically

ENDING = Path("/run/recovery-mobility/ending")
ENDED = Path("/run/recovery-mobility.ended")
RECORD_BYTE = 4096
"""Where the record is on the change-log disk; its size is the same, and areas begin behind both (``layout``)."""
TITLE = "recovery-mobility"


@dataclass(frozen=True)
class OrderlyEnd:
    """The boot that ended, and the log area (``a`` or ``b``) of each mapping that was in use then."""

    boot: str
    areas: Mapping[str, str]

    def line(self) -> str:
        """Return what is on the change-log disk."""
        return " ".join([TITLE, self.boot, *(f"{name}={area}" for name, area in sorted(self.areas.items()))])


@dataclass(frozen=True)
class Record:
    """Where writes are logged in a boot: the area of each mapping, and how large the mappings are, in sectors."""

    boot: str
    areas: Mapping[str, str]
    sectors: Mapping[str, int]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what the service stored; earlier releases began a generation with each boot, and knew no sizes."""
        areas = value["areas"] if "areas" in value else value["active"]
        return cls(value.get("boot", value["generation"]), areas, value.get("sectors", {}))


def goes_on(before: Record, now: Record, ended: OrderlyEnd | None) -> bool:
    """Say whether no write was missed between what the service stored and now, in this boot or an orderly end away.

    A disk of another size is one that somebody has written to while nobody watched.
    """
    if before.boot == now.boot:
        return True
    moved = all(now.areas.get(name) != area for name, area in before.areas.items())
    return ended == OrderlyEnd(before.boot, before.areas) and moved and before.sectors == now.sectors


def parse(line: str) -> OrderlyEnd | None:
    """Return what a record says, None for anything that is none."""
    title, _, rest = line.strip().partition(" ")
    boot, *areas = rest.split() or [""]
    pairs = [area.partition("=") for area in areas]
    if title != TITLE or not boot or any(letter not in {"a", "b"} for _, _, letter in pairs):
        return None
    return OrderlyEnd(boot, {name: letter for name, _, letter in pairs})


def read_ended(path: Path = ENDED) -> OrderlyEnd | None:
    """Return the orderly end before this boot, None if there was none."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def note_ending(end: OrderlyEnd, change_log: Path, path: Path = ENDING) -> None:
    """Let the last program of a shutdown know what to write, and to which disk."""
    line = end.line()
    if len(line) >= RECORD_BYTE:
        # So many disks are compared after a restart.
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, f"{change_log}\n{line}\n".encode())


def forget_ending(path: Path = ENDING) -> None:
    """The service runs again: what it noted is true no longer."""
    path.unlink(missing_ok=True)
