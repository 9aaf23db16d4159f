"""The console's calls of the configuration server, with the certificate that it was given."""

from __future__ import annotations

from types import TracebackType
from typing import Self
from urllib.parse import quote

from lab.replication.common.config import ServiceConfig
from lab.replication.common.durable import JSON
from lab.replication.common.link import Link
from lab.replication.common.tls import client_context
from lab.waiting import Deadline, wait_until

ANSWER_S = 60.0
LOOK_S = 1.0
RUNNING = "running"


class Refused(Exception):
    """The configuration server said no; ``kind`` is the type that it gave.

    Args:
        kind: such as ``operation-refused`` or ``console-elsewhere``.
        message: why, for people.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Client:
    """Use it in a ``with`` statement."""

    def __init__(self, config: ServiceConfig) -> None:
        self._link = Link(config.configuration_server, client_context(config.identity_dir), timeout=ANSWER_S)

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._link.close()

    def overview(self) -> JSON:
        """Return everything at a glance. Raises Refused, Unreachable."""
        return self._call("GET", "/v1/overview")

    def machine(self, name: str) -> JSON:
        """Return a machine. Raises Refused, Unreachable."""
        return self._call("GET", f"/v1/machines/{quote(name, safe='')}")

    def points(self, name: str) -> list[JSON]:
        """Return the recovery points of a machine, oldest first. Raises Refused, Unreachable."""
        return list(self._call("GET", f"/v1/machines/{quote(name, safe='')}/recovery-points")["recovery_points"])

    def jobs(self, name: str) -> list[JSON]:
        """Return the last jobs of a machine, newest first. Raises Refused, Unreachable."""
        return list(self._call("GET", f"/v1/machines/{quote(name, safe='')}/jobs")["jobs"])

    def job(self, number: str) -> JSON:
        """Return a job with its steps. Raises Refused, Unreachable."""
        return self._call("GET", f"/v1/jobs/{quote(number, safe='')}")

    def start(self, name: str, operation: str, arguments: JSON) -> str:
        """Start an operation and return the number of its job. Raises Refused, Unreachable."""
        path = f"/v1/machines/{quote(name, safe='')}/operations/{quote(operation, safe='')}"
        return str(self._call("POST", path, arguments)["job"])

    def wait(self, number: str, seconds: float) -> JSON:
        """Return a job once it has ended. Raises Refused, Unreachable, DeadlineExceeded."""

        def ended() -> JSON | None:
            job = self.job(number)
            return None if job["state"] == RUNNING else job

        return wait_until(ended, Deadline.after(seconds), f"end of job {number}", every=LOOK_S)

    def _call(self, method: str, path: str, value: JSON | None = None) -> JSON:
        reply = self._link.call(method, path, value)
        if reply.status >= 300:  # noqa: PLR2004 - every 2xx is a success
            error = reply.json.get("error") or {}
            raise Refused(str(error.get("type", f"http-{reply.status}")), str(error.get("message", "no reason given")))
        return reply.json
