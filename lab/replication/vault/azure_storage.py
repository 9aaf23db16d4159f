"""A storage account behind ``azure-storage-blob``: Azure's own, or Azurite; both over HTTPS that is verified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import (
    BlobClient,
    BlobSasPermissions,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    generate_blob_sas,
    generate_container_sas,
)

from lab.replication.common.storage_access import API_VERSION, MARK, StorageAccess, log_name, sequence_of
from lab.replication.vault.storage import MOST_WRITE, BlobSource, StorageError, WentBack

REPLICAS = "replicas"
TIMEOUT_S = 60.0
CLOCK_SKEW_S = 300
PRECONDITION_FAILED = 412


class AzureStorage:
    """One account. ``public_url`` is how others reach it (a process server, a machine), without a last slash."""

    def __init__(self, connection_string: str, ca_file: Path | None, public_url: str | None = None) -> None:
        self._service: BlobServiceClient = BlobServiceClient.from_connection_string(
            connection_string,
            connection_verify=str(ca_file) if ca_file else True,
            api_version=API_VERSION,
            # A write that is repeated by the library would not know its own first attempt.
            retry_total=0,
            connection_timeout=TIMEOUT_S,
            read_timeout=TIMEOUT_S,
        )
        self._ca_file = ca_file
        self._account = str(self._service.account_name)
        self._public_url = (public_url or str(self._service.url)).rstrip("/")
        self._replicas: ContainerClient = self._service.get_container_client(REPLICAS)

    def close(self) -> None:
        """Close connections."""
        self._service.close()

    # -- Replicas ---------------------------------------------------------------------------------------------------
    def create(self, name: str, size: int) -> str:
        """Make a blob that reads as zeros, without snapshots."""
        with _answers(f"blob {name}"):
            self._make_container(self._replicas)
            self.delete(name)
            return str(self._blob(name).create_page_blob(size)["etag"])

    def write(self, name: str, offset: int, data: bytes, etag: str) -> str:
        """Write whole pages. Raises WentBack."""
        with _answers(f"blob {name}"):
            return str(self._blob(name).upload_page(data, offset, len(data), **_only_if(etag))["etag"])

    def clear(self, name: str, offset: int, length: int, etag: str) -> str:
        """Make whole pages zero. Raises WentBack."""
        with _answers(f"blob {name}"):
            return str(self._blob(name).clear_page(offset, length, **_only_if(etag))["etag"])

    def etag(self, name: str) -> str | None:
        """Return the present ETag."""
        try:
            with _answers(f"blob {name}"):
                return str(self._blob(name).get_blob_properties().etag)
        except WentBack:
            return None

    def snapshot(self, name: str, etag: str, metadata: Mapping[str, str]) -> str:
        """Keep the content as it is. Raises WentBack."""
        with _answers(f"blob {name}"):
            return str(self._blob(name).create_snapshot(metadata=dict(metadata), **_only_if(etag))["snapshot"])

    def snapshots(self, name: str) -> frozenset[str]:
        """Return the ids of all snapshots."""
        try:
            with _answers(f"blob {name}"):
                found = self._replicas.list_blobs(name_starts_with=name, include=["snapshots"])
                return frozenset(str(blob.snapshot) for blob in found if blob.name == name and blob.snapshot)
        except WentBack:
            return frozenset()

    def restore(self, name: str, snapshot: str) -> str:
        """Write the content of a snapshot into its blob, made anew. Raises WentBack.

        Not a copy on the storage's side: after one, Azurite lets blob and snapshot share their pages, and the next
        write changes the snapshot (decision 0011). Putting a blob anew keeps its snapshots.
        """
        with _answers(f"snapshot {snapshot} of {name}"):
            old = self._blob(name, snapshot)
            size = int(old.get_blob_properties().size)
            etag = str(self._blob(name).create_page_blob(size)["etag"])
            for piece in old.list_page_ranges():
                if not piece.cleared and piece.start is not None and piece.end is not None:
                    etag = self._copy(name, snapshot, piece.start, piece.end + 1, etag)
            return etag

    def _copy(self, name: str, snapshot: str, begin: int, end: int, etag: str) -> str:
        for offset in range(begin, end, MOST_WRITE):
            data = self.read(name, offset, min(MOST_WRITE, end - offset), snapshot)
            etag = self.write(name, offset, data, etag)
        return etag

    def read(self, name: str, offset: int, length: int, snapshot: str | None = None) -> bytes:
        """Return content. Raises WentBack."""
        with _answers(f"blob {name}"):
            return bytes(self._blob(name, snapshot).download_blob(offset, length).readall())

    def delete_snapshot(self, name: str, snapshot: str) -> None:
        """Remove a snapshot, if it exists."""
        with _answers(f"snapshot {snapshot} of {name}"), _may_be_missing():
            self._blob(name, snapshot).delete_blob()

    def delete(self, name: str) -> None:
        """Remove a blob and its snapshots, if it exists."""
        with _answers(f"blob {name}"), _may_be_missing():
            self._blob(name).delete_blob(delete_snapshots="include")

    def source(self, name: str, snapshot: str, seconds: float) -> BlobSource:
        """Return where a snapshot can be read, with a signature for it alone. Raises WentBack."""
        with _answers(f"snapshot {snapshot} of {name}"):
            size = int(self._blob(name, snapshot).get_blob_properties().size)
        signature = generate_blob_sas(
            self._account,
            REPLICAS,
            name,
            snapshot=snapshot,
            account_key=self._key,
            permission=BlobSasPermissions(read=True),
            start=_start(),
            expiry=_in(seconds),
        )
        blob = f"{str(self._service.url).rstrip('/')}/{REPLICAS}/{name}"
        return BlobSource(f"{blob}?snapshot={quote(snapshot)}", str(signature), size, self._ca_file)

    # -- Staging ----------------------------------------------------------------------------------------------------
    def open_stream(self, stream: str) -> None:
        """Make the container of a stream, if there is none."""
        with _answers(f"container {stream}"):
            self._make_container(self._service.get_container_client(stream))

    def access(self, stream: str, seconds: float) -> StorageAccess:
        """Return a signature for one container: reading and writing, no listing, no deleting."""
        expiry = _in(seconds)
        signature = generate_container_sas(
            self._account,
            stream,
            account_key=self._key,
            permission=ContainerSasPermissions(read=True, create=True, write=True),
            start=_start(),
            expiry=expiry,
            protocol="https",
        )
        ca = self._ca_file.read_text() if self._ca_file else None
        return StorageAccess(f"{self._public_url}/{stream}", str(signature), int(expiry.timestamp() * 1e9), ca)

    def logs(self, stream: str) -> list[int]:
        """Return the numbers of the logs that are there. Raises WentBack."""
        with _answers(f"container {stream}"):
            names = [blob.name for blob in self._service.get_container_client(stream).list_blobs()]
        return sorted(number for number in map(sequence_of, names) if number is not None)

    def fetch(self, stream: str, sequence: int, destination: Path) -> bool:
        """Write a log to a file, if it is there."""
        try:
            with _answers(f"log {sequence} of {stream}"), destination.open("wb") as file:
                self._log(stream, sequence).download_blob(max_concurrency=1).readinto(file)
        except WentBack:
            return False
        return True

    def forget(self, stream: str, sequence: int) -> None:
        """Remove a log, if it is there."""
        with _answers(f"log {sequence} of {stream}"), _may_be_missing():
            self._log(stream, sequence).delete_blob()

    def mark(self, stream: str, sequence: int) -> None:
        """Write the number of the last document that is kept."""
        with _answers(f"container {stream}"):
            self._service.get_blob_client(stream, MARK).upload_blob(str(sequence).encode(), overwrite=True)

    def close_stream(self, stream: str) -> None:
        """Remove the container of a stream, if there is one."""
        with _answers(f"container {stream}"), _may_be_missing():
            self._service.delete_container(stream)

    @property
    def _key(self) -> str:
        return str(self._service.credential.account_key)

    def _blob(self, name: str, snapshot: str | None = None) -> BlobClient:
        return self._replicas.get_blob_client(name, snapshot=snapshot)

    def _log(self, stream: str, sequence: int) -> BlobClient:
        return self._service.get_blob_client(stream, log_name(sequence))

    @staticmethod
    def _make_container(container: ContainerClient) -> None:
        try:
            container.create_container()
        except ResourceExistsError:
            return


def _only_if(etag: str) -> dict[str, Any]:
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def _start() -> datetime:
    # The clocks of two machines differ; a signature that is not valid yet would be refused.
    return _in(-CLOCK_SKEW_S)


@contextmanager
def _may_be_missing() -> Iterator[None]:
    try:
        yield
    except ResourceNotFoundError:
        return


@contextmanager
def _answers(what: str) -> Iterator[None]:
    """Tell apart what the storage has lost and what it does not answer.

    Raises:
        WentBack: the object does not exist, or has another ETag.
        StorageError: anything else; addresses with signatures are not quoted.
    """
    try:
        yield
    except ResourceNotFoundError as error:
        raise WentBack(f"{what} does not exist") from error
    except HttpResponseError as error:
        if error.status_code == PRECONDITION_FAILED:
            raise WentBack(f"{what} was changed by somebody else, or lost writes") from error
        raise StorageError(f"the storage refuses {what}: HTTP {error.status_code} {error.reason}") from error
    except AzureError as error:
        raise StorageError(f"the storage does not answer for {what}: {type(error).__name__}") from error
