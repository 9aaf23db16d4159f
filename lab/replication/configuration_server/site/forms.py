"""The forms of operations: which fields each has, and what a form that was sent says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from lab.replication.configuration_server.errors import BadRequest
from lab.replication.configuration_server.selection import LATEST, LATEST_PROCESSED
from lab.replication.configuration_server.site.guard import FIELD
from lab.replication.configuration_server.site.markup import Markup, tag
from lab.replication.configuration_server.states import Operation

WITH_POINT = (Operation.TEST_FAILOVER, Operation.FAILOVER, Operation.CHANGE_RECOVERY_POINT, Operation.FAILBACK)
WORDS = (LATEST, LATEST_PROCESSED, "latest-application-consistent")
NOT_BY_HAND = (Operation.APPLY_POLICY, Operation.GROW_DISKS)
"""The server starts these itself, when a policy or a group changes, or a disk has grown."""
POINT, SHUTDOWN = "recovery_point", "shutdown_source"
SERVER, ADDRESS = "process_server", "process_server_address"


def operation_form(machine: str, operation: str, points: Sequence[str], token: str) -> Markup:
    """Return the form that starts an operation; ``points`` are the ids of recovery points, newest first."""
    return tag(
        "form",
        tag("input", type="hidden", name=FIELD, value=token),
        *_fields(operation, points),
        tag("button", operation, type="submit"),
        method="post",
        action=f"/console/machines/{quote(machine)}/operations/{quote(operation)}",
    )


def arguments_of(operation: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a form says.

    Raises:
        BadRequest: a field is there that the form of this operation does not have, or is no text.
    """
    known = {FIELD, *_names(operation)}
    unknown = sorted(set(sent) - known)
    if unknown:
        raise BadRequest(f"the form of {operation} has no field {unknown[0]!r}")
    texts = {key: value for key, value in sent.items() if key != FIELD and value != ""}
    if not all(isinstance(value, str) for value in texts.values()):
        raise BadRequest("a form has texts only")
    return _assembled(texts)


def _assembled(texts: Mapping[str, str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if POINT in texts:
        arguments[POINT] = texts[POINT]
    if SHUTDOWN in texts:
        arguments[SHUTDOWN] = True
    if SERVER in texts:
        address = {"address": texts[ADDRESS]} if ADDRESS in texts else {}
        arguments[SERVER] = {"name": texts[SERVER], **address}
    return arguments


def _names(operation: str) -> tuple[str, ...]:
    names = (POINT,) if operation in WITH_POINT else ()
    if operation == Operation.FAILOVER:
        return (*names, SHUTDOWN)
    return (SERVER, ADDRESS) if operation == Operation.MOVE else names


def _fields(operation: str, points: Sequence[str]) -> list[Markup]:
    fields = []
    for name in _names(operation):
        if name == POINT:
            options = [tag("option", word, value=word) for word in (*WORDS, *points)]
            fields.append(tag("label", "recovery point ", tag("select", *options, name=POINT)))
        elif name == SHUTDOWN:
            fields.append(
                tag("label", tag("input", type="checkbox", name=SHUTDOWN, value="yes"), " shut the source down")
            )
        else:
            label = name.replace("_", " ") + " "
            needed = name == SERVER
            fields.append(tag("label", label, tag("input", type="text", name=name, maxlength=64, required=needed)))
    return fields
