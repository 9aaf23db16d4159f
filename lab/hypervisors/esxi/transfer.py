"""Files of a datastore over HTTPS ``/folder``, on connections that verify the host like all others."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urlencode

from lab.hypervisors.esxi.errors import CONNECTION
from lab.hypervisors.esxi.settings import Target
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound

ANSWER_SECONDS = 120.0
OK, CREATED, PARTIAL = 200, 201, 206


class Transfer(Protocol):
    """Reads and writes the files of one datastore, by their path in it."""

    def read(self, path: str, start: int, length: int) -> bytes:
        """Return a range of a file. Raises NotFound, HypervisorError."""

    def read_whole(self, path: str) -> bytes:
        """Return a file. Raises NotFound, HypervisorError."""

    def write(self, path: str, length: int, blocks: Iterable[bytes]) -> None:
        """Replace a file by ``length`` bytes. Raises NotFound for a missing folder, HypervisorError."""


@dataclass(frozen=True)
class HttpsTransfer:
    """The way of ``/folder``."""

    target: Target
    datacenter: str
    datastore: str

    def read(self, path: str, start: int, length: int) -> bytes:
        """Ask for one range; a host that ignores it is refused, not read in whole."""
        status, body = self._exchange("GET", path, {"Range": f"bytes={start}-{start + length - 1}"}, None)
        if status != PARTIAL:
            raise HypervisorError(f"file {path}: the host does not serve ranges (status {status})")
        if len(body) != length:
            raise HypervisorError(f"file {path}: {len(body)} bytes at {start} came instead of {length}")
        return body

    def read_whole(self, path: str) -> bytes:
        """Ask for the file."""
        return self._exchange("GET", path, {}, None)[1]

    def write(self, path: str, length: int, blocks: Iterable[bytes]) -> None:
        """Send the file."""
        self._exchange("PUT", path, {"Content-Length": str(length)}, blocks)

    def _exchange(
        self, method: str, path: str, headers: dict[str, str], blocks: Iterable[bytes] | None
    ) -> tuple[int, bytes]:
        query = urlencode({"dcPath": self.datacenter, "dsName": self.datastore})
        token = base64.b64encode(f"{self.target.user}:{self.target.password}".encode()).decode()
        connection = http.client.HTTPSConnection(
            self.target.host, self.target.port, timeout=ANSWER_SECONDS, context=self.target.trust.context()
        )
        try:
            connection.request(
                method, f"/folder/{quote(path)}?{query}", blocks, {**headers, "Authorization": f"Basic {token}"}
            )
            answer = connection.getresponse()
            return answer.status, _checked(path, answer.status, answer.read())
        except CONNECTION as error:
            raise HypervisorError(f"file {path}: the host does not answer: {error}") from error
        finally:
            connection.close()


def _checked(path: str, status: int, body: bytes) -> bytes:
    if status in {OK, CREATED, PARTIAL}:
        return body
    said = body[:200].decode("utf-8", "replace").strip()
    kind = NotFound if status == http.HTTPStatus.NOT_FOUND else Conflict if status == http.HTTPStatus.CONFLICT else None
    raise (kind or HypervisorError)(f"file {path}: the host answered {status}: {said}")
