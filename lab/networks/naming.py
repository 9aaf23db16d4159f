"""Names of kernel objects, which are short (15 characters for a device) and must not collide between labs."""

from __future__ import annotations

import hashlib

NAMESPACE_PREFIX = "recovery-lab-"


def device_name(prefix: str, *parts: str) -> str:
    """Return ``prefix`` and 10 hexadecimal digits that depend on all ``parts``."""
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"{prefix}{digest[:10]}"


def namespace_name(lab: str) -> str:
    """Return the network namespace of a lab; the name is the tag by which the reaper finds it."""
    return f"{NAMESPACE_PREFIX}{lab}"
