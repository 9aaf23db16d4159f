"""Saved labs and boards for these tests."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from lab.saved.inputs import FORMAT
from lab.saved.model import DESCRIPTION, Saved
from lab.saved.store import Entry, SavedLabs, describe_files

YEAR_NS = 365 * 24 * 3600 * 10**9


@dataclass
class Steps:
    """A board that remembers."""

    seen: list[tuple[str, str]] = field(default_factory=list)

    def step(self, subject: str, step: str) -> None:
        self.seen.append((subject, step))


def saved(key: str, **changes: object) -> Saved:
    values: dict[str, object] = {
        "format": FORMAT,
        "key": key,
        "inputs": {"topology": "t"},
        "lab": "lab1",
        "topology": Path("/x.yaml"),
        "name": "x",
        "acceleration": "tcg",
        "machines": ("m1",),
        "taken_ns": time.time_ns(),
        "expires_ns": time.time_ns() + YEAR_NS,
        "host_keys": {},
        "files": {},
        **changes,
    }
    return Saved.model_validate(values)


def put(store: SavedLabs, key: str, content: bytes = b"content", **changes: object) -> Entry:
    """Put a saved lab of one file into the store."""
    with store.taking(key) as folder:
        (folder / "disks").mkdir()
        (folder / "disks" / "d.img").write_bytes(content)
        description = saved(key, files=describe_files(folder), **changes)
        (folder / DESCRIPTION).write_text(description.model_dump_json())
    entry = store.lookup(key)
    assert entry is not None
    return entry
