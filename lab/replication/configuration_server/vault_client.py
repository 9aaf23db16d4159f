"""Calling the vault: outbound HTTPS on 443 only; the vault never calls here (seed L65: V2A-PORT-443-CS-OUT)."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import aiohttp

from lab.replication.common.config import Endpoint
from lab.replication.configuration_server.errors import JobError, SetupRefused

NOT_FOUND, NO_CONTENT = 404, 204
SUCCESS = range(200, 300)
TOO_EARLY = "step-too-early"


class VaultClient:
    """One vault. Calls are idempotent, so a job that failed half-way can be started again.

    ``seconds`` bounds a call; waiting for a merge has ``drain`` seconds.
    """

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext, seconds: float, drain: float) -> None:
        self.endpoint = endpoint
        self._base = f"https://{endpoint.address}:{endpoint.port}/v1"
        self._context = context
        self._timeout = aiohttp.ClientTimeout(total=max(seconds, drain) + 30, connect=30)
        self._drain = drain
        self._session: aiohttp.ClientSession | None = None

    async def set_up(self, step: str, name: str, document: Mapping[str, Any]) -> None:
        """Do a step of the set-up. Raises SetupRefused (nothing has changed), JobError."""
        await self._call("PUT", f"/setup/{quote(step)}/{quote(name)}", dict(document))

    async def enable(self, stream: str, document: Mapping[str, Any]) -> None:
        """Make a protected item. Raises SetupRefused, JobError."""
        await self._call("PUT", f"/items/{quote(stream)}", dict(document))

    async def change(self, stream: str, document: Mapping[str, Any]) -> None:
        """Give an item another retention. Raises JobError."""
        await self._call("PATCH", f"/items/{quote(stream)}", dict(document))

    async def access(self, stream: str) -> dict[str, Any]:
        """Return a new signature for a container; it is a secret. Raises JobError."""
        return await self._call("POST", f"/items/{quote(stream)}/access", {})

    async def wait_merged(self, stream: str, sequence: int) -> None:
        """Wait until a document is part of the replica. Raises JobError."""
        body = {"sequence": sequence, "timeout_s": self._drain}
        await self._call("POST", f"/items/{quote(stream)}/wait", body)

    async def forget_points(self, stream: str, keep: str | None) -> None:
        """Remove all points but one. Raises JobError."""
        await self._call("POST", f"/items/{quote(stream)}/forget-points", {"keep": keep}, may_be_missing=True)

    async def disable(self, stream: str) -> None:
        """Remove an item, if there is one. Raises JobError."""
        await self._call("DELETE", f"/items/{quote(stream)}", None, may_be_missing=True)

    async def create_machine(self, order: Mapping[str, Any]) -> None:
        """Make a machine and start it. Raises JobError."""
        await self._call("POST", "/machines", dict(order))

    async def machine(self, name: str) -> dict[str, Any] | None:
        """Return ``{state, disks, nics}`` of a machine, None when there is none. Raises JobError."""
        return await self._call("GET", f"/machines/{quote(name)}", None, may_be_missing=True) or None

    async def power(self, name: str, action: str) -> None:
        """Switch a machine: on, off or shutdown. Raises JobError."""
        await self._call("POST", f"/machines/{quote(name)}/power", {"action": action}, may_be_missing=True)

    async def delete_machine(self, name: str) -> None:
        """Remove a machine, if it exists. Raises JobError."""
        await self._call("DELETE", f"/machines/{quote(name)}", None, may_be_missing=True)

    async def export(self, name: str, reader: str) -> None:
        """Have the disks of a machine written for a provider to read. Raises JobError."""
        await self._call("POST", f"/machines/{quote(name)}/export", {"reader": reader})

    async def end_export(self, name: str) -> None:
        """Have what was written deleted. Raises JobError."""
        await self._call("DELETE", f"/machines/{quote(name)}/export", None, may_be_missing=True)

    async def events(self, after: int, wait: float) -> list[dict[str, Any]]:
        """Return events after a number, waiting for the first. Raises JobError."""
        answer = await self._call("GET", f"/events?after={after}&wait={wait:g}", None)
        return list(answer["events"])

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _call(self, method: str, path: str, body: object, *, may_be_missing: bool = False) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._session.request(method, self._base + path, json=body, ssl=self._context) as answer:
                value = await answer.json(content_type=None) if answer.status != NO_CONTENT else {}
                status = answer.status
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise JobError("vault-unreachable", f"vault: {method} {path}: {error!r}") from error
        if status == NOT_FOUND and may_be_missing:
            return {}
        if status in SUCCESS:
            return dict(value or {})
        failure = value.get("error", {}) if isinstance(value, dict) else {}
        message = f"vault: {failure.get('message', status)}"
        if failure.get("type") == TOO_EARLY:
            raise SetupRefused(str(failure.get("step")), [str(each) for each in failure.get("missing", ())], message)
        raise JobError(f"vault-{failure.get('type', 'error')}", message)
