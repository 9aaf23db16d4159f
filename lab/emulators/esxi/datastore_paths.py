"""The folder behind a datastore: ``[name] a/b`` to a file and back, confined to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pyVmomi import vim

_PATH = re.compile(r"\[([^\[\]]+)\]\s*(.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class DatastoreFolder:
    """One datastore: its name and its folder on this machine."""

    name: str
    root: Path

    def file(self, path: str) -> Path:
        """Return the file of a datastore path. Raises InvalidDatastorePath, also for one that leads outside."""
        found = _PATH.match(path)
        if found is None or found[1] != self.name:
            raise vim.fault.InvalidDatastorePath(datastorePath=path, msg=f"Invalid datastore path '{path}'.")
        return self.confined(found[2])

    def confined(self, relative: str) -> Path:
        """Return the file at a path below the root. Raises InvalidDatastorePath when it would lead outside."""
        root = self.root.resolve()
        try:
            target = (root / relative.strip("/")).resolve()
        except (OSError, ValueError) as error:
            raise vim.fault.InvalidDatastorePath(datastorePath=relative, msg=f"Invalid path: {error}") from error
        if target != root and root not in target.parents:
            raise vim.fault.InvalidDatastorePath(
                datastorePath=relative, msg=f"Invalid datastore path '{relative}': it leads out of the datastore."
            )
        return target

    def existing(self, path: str) -> Path:
        """Return the file of a datastore path. Raises InvalidDatastorePath, FileNotFound."""
        target = self.file(path)
        if not target.exists():
            raise vim.fault.FileNotFound(file=path, msg=f"File {path} was not found")
        return target

    def path(self, file: Path) -> str:
        """Return the datastore path of a file below the root."""
        relative = file.relative_to(self.root.resolve()).as_posix()
        return f"[{self.name}] {'' if relative == '.' else relative}".rstrip()
