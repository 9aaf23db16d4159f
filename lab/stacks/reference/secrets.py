"""The pairing passphrase, from wherever the topology says it is."""

from __future__ import annotations

import os
import secrets

from lab.errors import BadInput
from lab.topology.model import Topology
from lab.topology.secrets import EnvironmentSecret, FileSecret


def pairing_passphrase(topology: Topology) -> str:
    """Return the passphrase. Raises BadInput, without showing it, when the reference leads nowhere."""
    reference = topology.stack.pairing_passphrase
    if isinstance(reference, EnvironmentSecret):
        value = os.environ.get(reference.env, "")
        if not value:
            raise BadInput(f"{topology.source}: the environment variable {reference.env} is not set")
        return value
    if isinstance(reference, FileSecret):
        path = topology.source.parent / reference.file
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise BadInput(f"{topology.source}: the pairing passphrase cannot be read: {error}") from error
    return secrets.token_urlsafe(24)
