"""A container of replication logs as a process server may use it: where it is and a signature that opens only it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lab.replication.common.durable import JSON

API_VERSION = "2021-08-06"
"""Known to Debian 12's azure-storage-blob (12.14) and to Azurite: neither is asked for what it does not have."""
MARK = "taken"
"""The blob in which the vault says which document of the stream it keeps itself by now."""
LOG_NAME = re.compile(r"log-(\d{12})\Z")


@dataclass(frozen=True)
class StorageAccess:
    """The container of one stream. The signature is a secret: ``repr`` does not show it.

    ``ca`` is the certificate (PEM) that the storage's is verified with; None for the authorities of the system.
    ``expires_ns`` is when the signature ends.
    """

    container: str
    signature: str = field(repr=False)
    expires_ns: int
    ca: str | None = field(default=None, repr=False)

    @classmethod
    def from_json(cls, value: JSON) -> StorageAccess:
        """Read ``{container, signature, expires_ns, ca?}``.

        Raises:
            ValueError: the container is not an HTTPS address.
        """
        container = str(value["container"])
        if not container.startswith("https://") or "?" in container:
            raise ValueError(f"storage.container: an https address without a query is expected, not {container!r}")
        ca = value.get("ca")
        return cls(container, str(value["signature"]), int(value["expires_ns"]), None if ca is None else str(ca))

    def to_json(self) -> JSON:
        """Return what ``from_json`` reads; it holds the secret."""
        return {
            "container": self.container,
            "signature": self.signature,
            "expires_ns": self.expires_ns,
            "ca": self.ca,
        }


def log_name(sequence: int) -> str:
    """Return the name of the blob that holds a document."""
    return f"log-{sequence:012}"


def sequence_of(name: str) -> int | None:
    """Return which document a blob holds, or None when it is something else."""
    found = LOG_NAME.match(name)
    return int(found[1]) if found else None
