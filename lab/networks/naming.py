"""Names of kernel objects, which are short (15 characters for a device) and must not collide between labs."""

from __future__ import annotations

import hashlib
from pathlib import Path

NAMESPACE_PREFIX = "recovery-lab-"


def device_name(prefix: str, *parts: str) -> str:
    """Return ``prefix`` and 10 hexadecimal digits that depend on all ``parts``."""
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"{prefix}{digest[:10]}"


def tag_of(lab: str, store: Path) -> str:
    """Return what every object of a lab carries, by which the reaper finds it.

    The labs of one name in two homes (``store``: the folder of a home's labs) share this machine's libvirt and its
    namespaces, and must not see each other.
    """
    return f"{lab}-{hashlib.sha256(str(store.resolve()).encode()).hexdigest()[:6]}"


def namespace_name(tag: str) -> str:
    """Return the network namespace of the lab with a tag."""
    return f"{NAMESPACE_PREFIX}{tag}"
