"""Faults of the vSphere types and broken connections as the errors that drivers raise."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyVmomi import vim, vmodl

from lab.hypervisors.protocols import Conflict, FreeLicence, HypervisorError, NotFound

_MISSING = (vim.fault.NotFound, vim.fault.FileNotFound, vmodl.fault.ManagedObjectNotFound)
_CONFLICT = (
    vim.fault.AlreadyExists,
    vim.fault.DuplicateName,
    vim.fault.FileAlreadyExists,
    vim.fault.FileLocked,
    vim.fault.InvalidPowerState,
    vim.fault.InvalidState,
    vim.fault.ResourceInUse,
    vim.fault.TaskInProgress,
)
CONNECTION = (OSError, http.client.HTTPException)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn a fault or a broken connection into our error, naming ``what`` was being done."""
    try:
        yield
    except vmodl.MethodFault as fault:
        raise error_of(what, fault) from fault
    except CONNECTION as error:
        raise HypervisorError(f"{what}: the host does not answer: {error}") from error


def error_of(what: str, fault: Any) -> HypervisorError:
    """Return our error for a fault."""
    message = f"{what}: {message_of(fault)}"
    if isinstance(fault, vim.fault.RestrictedVersion):
        return FreeLicence(
            f"{message} (the host's licence allows reading only: a free ESXi licence has no write access)"
        )
    if isinstance(fault, _MISSING):
        return NotFound(message)
    if isinstance(fault, _CONFLICT):
        return Conflict(message)
    return HypervisorError(message)


def message_of(fault: Any) -> str:
    """Return what the host said, and the kind of fault."""
    kind = type(fault).__name__
    said = (fault.msg or "").strip()
    return f"{said} ({kind})" if said else kind
