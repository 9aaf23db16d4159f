"""A saved lab as its description says it. The file is ``saved.json``, written last."""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lab.saved.inputs import FORMAT

DESCRIPTION = "saved.json"
LEAST_VALIDITY_SECONDS = 24 * 3600
"""A certificate has to outlive the longest run by far."""


class SavedFile(BaseModel):
    """One file: size and time tell at a glance that nobody touched it, the digest tells it for certain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    mtime_ns: int
    digest: str


class Saved(BaseModel):
    """What a folder of the store has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    key: str
    inputs: dict[str, str]
    lab: str
    """The lab that it was taken of; its name means nothing to whoever goes on."""
    topology: Path
    """The file at that time; it may have moved since."""
    name: str
    """Name of the topology."""
    acceleration: str
    machines: tuple[str, ...]
    taken_ns: int
    expires_ns: int
    """When the first certificate in it expires."""
    host_keys: dict[str, str]
    files: dict[str, SavedFile]
    """By path relative to the folder."""

    def unusable(self, now_ns: int | None = None) -> str | None:
        """Return why nobody can go on from it whatever its files are, or None."""
        if self.format != FORMAT:
            return f"format {self.format}, this lab reads {FORMAT}"
        now = time.time_ns() if now_ns is None else now_ns
        if self.expires_ns - now < LEAST_VALIDITY_SECONDS * 10**9:
            return "a certificate in it expires soon"
        return None
