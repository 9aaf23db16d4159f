"""From what the host says to our errors, by FullyQualifiedErrorId: texts are in the language of the host."""

from __future__ import annotations

from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound

_KINDS: dict[str, type[HypervisorError]] = {
    "InvalidParameter": NotFound,
    "ObjectNotFound": NotFound,
    "PathNotFound": NotFound,
    "ItemNotFound": NotFound,
    "InvalidState": Conflict,
    "ObjectInUse": Conflict,
}
"""The first half of the id. ``InvalidParameter`` is what Get-VM and others say of a name that does not exist [doc];
the rest is [mem]."""


def error_of(what: str, identity: str, message: str) -> HypervisorError:
    """Return our error for an error record."""
    kind = _KINDS.get(identity.partition(",")[0], HypervisorError)
    return kind(f"{what}: {message.strip()} ({identity})")
