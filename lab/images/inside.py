"""Files out of a disk image, without mounting it: e2fsprogs reads the file system where it lies."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lab.errors import LabError
from lab.images.disk import ENVIRONMENT, PARTITION_OFFSET, TOOL_SECONDS

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
        # The program ends with 0 whatever happens.
        said = self._ask(f'dump "{found}" "{target}"')
        if not target.is_file() or target.stat().st_size == 0:
            raise LabError(f"{self.disk.name} has no file {path}: {said.strip()[-300:]}")

    def _followed(self, path: str) -> str:
        for _ in range(MOST_LINKS):
            link = _LINK.search(self._ask(f'stat "{path}"'))
            if link is None:
                return path
            path = str(PurePosixPath(path).parent / link["target"])
        raise LabError(f"{self.disk.name}: too many links at {path}")

    def _ask(self, request: str) -> str:
        command = ["debugfs", "-R", request, f"{self.disk}?offset={PARTITION_OFFSET}"]
        try:
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=TOOL_SECONDS, env=ENVIRONMENT
            )
        except FileNotFoundError as error:
            raise LabError("debugfs is missing", hint="make bootstrap installs it") from error
        except subprocess.CalledProcessError as error:
            raise LabError(f"debugfs failed: {error.stderr.strip()[-300:]}") from error
        return done.stdout + done.stderr
