"""Where the lab keeps images and the state of running labs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lab.errors import BadInput
from lab.home import home
from lab.networks.naming import tag_of

LONGEST_NAME = 31
"""Letters of a lab's name."""
_LAB_NAME = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{LONGEST_NAME - 1}}}")


@dataclass(frozen=True)
class Home:
    """The folder of everything that outlives a command. QEMU's user has to be able to enter it."""

    folder: Path

    @classmethod
    def default(cls) -> Home:
        """Return the folder of this user, or the one that the environment names."""
        return cls(home())

    @property
    def images(self) -> Path:
        """Cached images."""
        return self.folder / "images"

    @property
    def labs(self) -> Path:
        """One folder for each lab that is up, or that was and has not been reaped."""
        return self.folder / "labs"

    @property
    def saved(self) -> Path:
        """Saved labs."""
        return self.folder / "saved"

    def lab(self, name: str) -> LabFolder:
        """Return a lab's folder. Raises BadInput for a name that could not be a tag."""
        if not _LAB_NAME.fullmatch(name):
            allowed = f"lower case letters, digits and '-', at most {LONGEST_NAME}"
            raise BadInput(f"{name!r} is no name for a lab: use {allowed}")
        return LabFolder(name, self.labs / name)

    def lab_names(self) -> list[str]:
        """Return the labs that left something here."""
        return sorted(path.name for path in self.labs.iterdir()) if self.labs.is_dir() else []


@dataclass(frozen=True)
class LabFolder:
    """Files of one lab."""

    name: str
    path: Path

    @property
    def tag(self) -> str:
        """What its objects on this machine carry."""
        return tag_of(self.name, self.path.parent)

    @property
    def state(self) -> Path:
        """What is known about the lab, as JSON."""
        return self.path / "state.json"

    @property
    def login_key(self) -> Path:
        """The lab's private key for its machines."""
        return self.path / "keys" / "login"

    @property
    def seeds(self) -> Path:
        """Identity disks."""
        return self.path / "seeds"

    @property
    def processes(self) -> Path:
        """Records of processes that belong to the lab."""
        return self.path / "processes"

    @property
    def stack(self) -> Path:
        """Certificates and settings with which the lab operates the stack."""
        return self.path / "stack"

    def make(self) -> None:
        """Create the folder; only its owner may list it, QEMU may pass through."""
        for folder in (self.path, self.seeds):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o711)
        for folder in (self.login_key.parent, self.processes, self.stack):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
