"""Programs of Debian's packages, unpacked into a folder of the bench: nothing of this machine changes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.home import home

PYTHON = "/usr/bin/python3"
TOOL_S = 120.0
MODULES = ("usr/lib/python3/dist-packages", "usr/share/virt-manager")
LIBRARIES = "usr/lib/x86_64-linux-gnu"


class NotToBeHad(LabError):
    """The peer cannot be had here; its row is left out."""


@dataclass(frozen=True)
class Program:
    """A program in Python: its name, and the packages that it and what it imports are in."""

    name: str
    packages: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it is unpacked."""
        return home() / "bench" / self.name

    @property
    def command(self) -> list[str]:
        """How a command line of it begins."""
        return [PYTHON, str(self.folder / "usr/bin" / self.name)]

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables with which it finds what was unpacked, and keeps its own files there too."""
        libraries = self.folder / LIBRARIES
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "PYTHONPATH": os.pathsep.join(str(self.folder / each) for each in MODULES),
            "LD_LIBRARY_PATH": str(libraries),
            "GI_TYPELIB_PATH": str(libraries / "girepository-1.0"),
        }

    def provide(self) -> None:
        """Fetch and unpack it unless it is there. Raises NotToBeHad."""
        if (self.folder / "complete").exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._run(["apt-get", "download", "-q", *self.packages])
        for package in self.folder.glob("*.deb"):
            self._run(["dpkg-deb", "-x", str(package), str(self.folder)])
            package.unlink()
        self._run([*self.command, "--version"], self.environment)
        (self.folder / "complete").touch()

    def _run(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        try:
            subprocess.run(
                command, cwd=self.folder, env=environment, check=True, capture_output=True, text=True, timeout=TOOL_S
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotToBeHad(f"{self.name}: {error}") from error
        except subprocess.CalledProcessError as error:
            raise NotToBeHad(f"{self.name}: {error.stderr.strip()[-300:]}") from error
