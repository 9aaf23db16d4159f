"""The pairing passphrase, from wherever the topology says it is."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from lab.errors import BadInput
from lab.topology.model import Topology
from lab.topology.secrets import EnvironmentSecret, FileSecret


def pairing_passphrase(topology: Topology) -> str:
    """Return the passphrase. Raises BadInput, without showing it, when the reference leads nowhere."""
    reference = topology.stack.pairing_passphrase
    if isinstance(reference, EnvironmentSecret):
        return _from_environment(topology.source, reference.env)
    if isinstance(reference, FileSecret):
        return _from_file(topology.source, topology.source.parent / reference.file)
    return secrets.token_urlsafe(24)


def _from_environment(topology: Path, variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise BadInput(f"{topology}: the environment variable {variable} is not set, or empty")
    return value


def _from_file(topology: Path, path: Path) -> str:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        # The codec's message quotes bytes of the secret, so it is neither repeated nor chained.
        raise BadInput(f"{topology}: the pairing passphrase in {path} is not UTF-8 text") from None
    except OSError as error:
        raise BadInput(f"{topology}: the pairing passphrase cannot be read: {error}") from error
    if not value:
        raise BadInput(f"{topology}: the file {path} for the pairing passphrase is empty")
    return value
