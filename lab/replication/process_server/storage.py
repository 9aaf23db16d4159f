"""Documents go to Azure storage as replication logs: block blobs in the stream's own container (seed L49, L66).

A log that the storage has acknowledged may still get lost (Azurite forgets seconds when it is killed), so it stays
in the cache until the vault has it on a disk of its own, which the vault says in the blob ``taken``. What is neither
in the container nor taken is sent again.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from lab.replication.changeset import Buffer
from lab.replication.common.ahead import ahead
from lab.replication.common.durable import write_atomically
from lab.replication.common.link import Reply
from lab.replication.common.optimised import Pieces
from lab.replication.common.storage_access import API_VERSION, MARK, StorageAccess, log_name
from lab.replication.process_server.forwarding import NotTaken, Parts, Standing

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

LOOK_S = 0.5
MISSED_S = 10.0
"""A log that was not taken for so long may be gone: then it is looked for."""
TIMEOUT_S = 60.0
DIGEST_SIZE = 32
OK = 200
_SECRET = re.compile(r"\bsig=[^&\s'\"]+")


class StorageForwarder:
    """Uploads to one container; ``directory`` is where the storage's authority is written to."""

    name = "storage"

    def __init__(self, directory: Path, access: StorageAccess) -> None:
        self._directory = directory
        self._access = access
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._client: ContainerClient | None = None
        self._looked = float("-inf")
        self._waiting_since: float | None = None

    def renew(self, access: StorageAccess) -> None:
        """Use a new signature for the same container from the next call on."""
        with self._lock:
            self._access, self._client = access, None

    def send(self, sequence: int, parts: Parts) -> None:
        """Upload a document; one of that number is replaced, because an earlier attempt may be half of it."""
        from azure.core.exceptions import AzureError

        try:
            blob = self.open_container().get_blob_client(log_name(sequence))
            with ahead(self._until_stopped(parts)) as pieces:
                blob.upload_blob(Pieces(pieces), overwrite=True, max_concurrency=1)
        except (AzureError, OSError) as error:
            raise NotTaken(_harmless(error)) from error

    def standing(self, kept: int, sent: int) -> Standing:
        """Return what the vault keeps; what has vanished without being taken is to be sent again."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return Standing(kept, sent)
        self._looked = now
        marked = min(self._mark(), sent)
        if marked > kept or self._waiting_since is None:
            self._waiting_since = None if marked == sent else now
        elif now - self._waiting_since > MISSED_S:
            self._waiting_since = now
            if not self._holds(kept + 1):
                return Standing(kept, kept)
        return Standing(max(kept, marked), sent)

    def applied(self, sequence: int) -> bool:  # noqa: ARG002 - the vault merges, and the configuration server asks it
        """Return True: with the vault a document is out of this server's hands."""
        return True

    def compare(self, query: str, digests: bytes) -> Reply:
        """Return that every chunk differs: nobody but the vault can read the replica (decision 0011)."""
        first = int(parse_qs(query)["first"][0])
        differ = list(range(first, first + len(digests) // DIGEST_SIZE))
        return Reply(OK, json.dumps({"differ": differ}).encode())

    def abort(self) -> None:
        """Stop an upload at its next piece, and refuse all later ones."""
        self._stopped.set()

    def close(self) -> None:
        """Close connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _until_stopped(self, parts: Parts) -> Iterator[Buffer]:
        for part in parts():
            if self._stopped.is_set():
                raise ConnectionAbortedError("the service is ending")
            yield part

    def _mark(self) -> int:
        """Return the number of the last document that the vault says it keeps."""
        from azure.core.exceptions import AzureError, ResourceNotFoundError

        try:
            return int(self.open_container().download_blob(MARK).readall())
        except ResourceNotFoundError:
            return 0
        except (AzureError, OSError, ValueError) as error:
            raise NotTaken(_harmless(error)) from error

    def _holds(self, sequence: int) -> bool:
        from azure.core.exceptions import AzureError

        try:
            return self.open_container().get_blob_client(log_name(sequence)).exists()
        except (AzureError, OSError) as error:
            raise NotTaken(_harmless(error)) from error

    def open_container(self) -> ContainerClient:
        """Return the client of the container with the present signature. Raises NotTaken."""
        from azure.storage.blob import ContainerClient

        if self._stopped.is_set():
            raise NotTaken("the service is ending")
        with self._lock:
            if self._client is None:
                access = self._access
                self._client = ContainerClient.from_container_url(
                    f"{access.container}?{access.signature}",
                    connection_verify=self._authority(access),
                    api_version=API_VERSION,
                    # This server's own pauses decide when something is tried again.
                    retry_total=0,
                    connection_timeout=TIMEOUT_S,
                    read_timeout=TIMEOUT_S,
                )
            return self._client

    def _authority(self, access: StorageAccess) -> str | bool:
        if access.ca is None:
            return True
        path = self._directory / "storage-ca.pem"
        write_atomically(path, access.ca.encode())
        return str(path)


def _harmless(error: Exception) -> str:
    """Return one line about an error, without the signature that addresses carry."""
    text = str(error) or type(error).__name__
    return _SECRET.sub("sig=...", text.splitlines()[0])
