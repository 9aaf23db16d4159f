"""Files out of a disk image, without mounting it: e2fsprogs reads the file system where it lies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lab.errors import LabError
from lab.images.disk import PARTITION_OFFSET
from lab.images.tools import run_tool

MOST_LINKS = 8
_LINK = re.compile(r'^Fast link dest: "(?P<target>[^"]+)"', re.MULTILINE)


@dataclass(frozen=True)
class ImageFiles:
    """The root file system of an image that ``lab.images.disk`` wrote."""

    disk: Path

    def kernel_release(self) -> str:
        """Return the release of its kernel, which names the folder of its modules. Raises LabError."""
        listed = self._ask("ls -p /lib/modules")
        names = [line.split("/")[5] for line in listed.splitlines() if line.count("/") > 5]  # noqa: PLR2004 - its columns
        found = [name for name in names if name not in (".", "..")]
        if len(found) != 1:
            raise LabError(f"{self.disk.name}: one kernel is expected, there are {', '.join(found) or 'none'}")
        return found[0]

    def read(self, path: str, target: Path) -> None:
        """Copy the file ``path`` to ``target``; links are followed. Raises LabError when there is none."""
        found = self._followed(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        # The program ends with 0 whatever happens.
        self._ask(f'dump "{found}" "{target}"')
        if not target.is_file() or target.stat().st_size == 0:
            raise LabError(f"{self.disk.name} has no file {path}")

    def _followed(self, path: str) -> str:
        for _ in range(MOST_LINKS):
            link = _LINK.search(self._ask(f'stat "{path}"'))
            if link is None:
                return path
            path = str(PurePosixPath(path).parent / link["target"])
        raise LabError(f"{self.disk.name}: too many links at {path}")

    def _ask(self, request: str) -> str:
        return run_tool(["debugfs", "-R", request, f"{self.disk}?offset={PARTITION_OFFSET}"]).decode(errors="replace")
