"""What the merger relies on, of a real Azurite over TLS and of the fake."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from logs import PAGE, STREAM

from conftest import needs_node
from lab.replication.process_server.forwarding import NotTaken
from lab.replication.process_server.storage import StorageForwarder
from lab.replication.vault.azure_storage import AzureStorage
from lab.replication.vault.memory import MemoryStorage
from lab.replication.vault.storage import MOST_WRITE, Storage, StorageError, WentBack

SIZE = 16 << 20
BLOB = f"{STREAM}-0"


def upload(storage: Storage, sequence: int, content: bytes, folder: Path) -> None:
    if isinstance(storage, MemoryStorage):
        storage.upload(STREAM, sequence, content)
        return
    forwarder = StorageForwarder(folder, storage.access(STREAM, 600))
    forwarder.send(sequence, lambda: [content])
    forwarder.close()


def test_a_write_names_the_etag_before_it(storage: Storage) -> None:
    first = storage.create(BLOB, SIZE)
    second = storage.write(BLOB, PAGE, b"a" * PAGE, first)
    with pytest.raises(WentBack):
        storage.write(BLOB, 0, b"b" * PAGE, first)
    third = storage.clear(BLOB, PAGE, PAGE, storage.write(BLOB, 0, b"c" * PAGE, second))
    with pytest.raises(WentBack):
        storage.clear(BLOB, 0, PAGE, second)
    with pytest.raises(WentBack):
        storage.snapshot(BLOB, second, {})
    assert storage.etag(BLOB) == third
    assert storage.read(BLOB, 0, 2 * PAGE) == b"c" * PAGE + bytes(PAGE)


def test_the_longest_write_is_four_mebibytes(storage: Storage) -> None:
    etag = storage.write(BLOB, 0, b"x" * MOST_WRITE, storage.create(BLOB, SIZE))
    assert storage.read(BLOB, MOST_WRITE - PAGE, 2 * PAGE) == b"x" * PAGE + bytes(PAGE)
    with pytest.raises((StorageError, ValueError)):
        storage.write(BLOB, 0, b"x" * (PAGE + 1), etag)


def test_a_snapshot_stays_and_can_be_gone_back_to(storage: Storage) -> None:
    etag = storage.write(BLOB, 0, b"1" * PAGE, storage.create(BLOB, SIZE))
    snapshot = storage.snapshot(BLOB, etag, {"sequence": "1"})
    assert storage.etag(BLOB) == etag
    storage.write(BLOB, 0, b"2" * PAGE, etag)
    assert storage.read(BLOB, 0, PAGE, snapshot) == b"1" * PAGE
    back = storage.restore(BLOB, snapshot)
    assert storage.etag(BLOB) == back != etag
    assert storage.read(BLOB, 0, PAGE) == b"1" * PAGE
    assert storage.snapshots(BLOB) == {snapshot}
    storage.write(BLOB, PAGE, b"3" * PAGE, back)
    assert storage.read(BLOB, 0, 2 * PAGE, snapshot) == b"1" * PAGE + bytes(PAGE), "the blob shares pages with it"
    storage.delete_snapshot(BLOB, snapshot)
    storage.delete_snapshot(BLOB, snapshot)
    assert storage.snapshots(BLOB) == frozenset()
    with pytest.raises(WentBack):
        storage.restore(BLOB, snapshot)


def test_a_blob_made_anew_has_nothing_of_the_old_one(storage: Storage) -> None:
    etag = storage.write(BLOB, 0, b"1" * PAGE, storage.create(BLOB, SIZE))
    storage.snapshot(BLOB, etag, {})
    storage.create(BLOB, SIZE)
    assert storage.read(BLOB, 0, PAGE) == bytes(PAGE)
    assert storage.snapshots(BLOB) == frozenset()
    storage.delete(BLOB)
    storage.delete(BLOB)
    assert storage.etag(BLOB) is None
    assert storage.snapshots(BLOB) == frozenset()


def test_logs_come_in_order_and_go(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(WentBack):
        storage.logs(STREAM)
    storage.open_stream(STREAM)
    storage.open_stream(STREAM)
    for sequence in (2, 11, 1):
        upload(storage, sequence, b"log %d" % sequence, tmp_path)
    assert storage.logs(STREAM) == [1, 2, 11]
    assert storage.fetch(STREAM, 11, tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == b"log 11"
    storage.mark(STREAM, 1)
    storage.forget(STREAM, 1)
    storage.forget(STREAM, 1)
    assert storage.logs(STREAM) == [2, 11]
    assert not storage.fetch(STREAM, 1, tmp_path / "gone")
    storage.close_stream(STREAM)
    storage.close_stream(STREAM)
    with pytest.raises(WentBack):
        storage.mark(STREAM, 2)


@needs_node
def test_the_signature_of_a_process_server_opens_only_its_container_and_neither_lists_nor_deletes(
    azurite, open_azure, tmp_path
) -> None:
    from azure.core.exceptions import HttpResponseError
    from azure.storage.blob import ContainerClient

    storage: AzureStorage = open_azure(azurite)
    other = "s-fedcba9876543210"
    for stream in (STREAM, other):
        storage.open_stream(stream)
    access = storage.access(STREAM, 600)
    assert access.signature not in repr(access)
    ca = str(azurite.azurite.certificates.ca)

    def client(container: str) -> ContainerClient:
        url = access.container.replace(STREAM, container)
        return ContainerClient.from_container_url(
            f"{url}?{access.signature}", connection_verify=ca, api_version="2021-08-06", retry_total=0
        )

    client(STREAM).upload_blob("log-000000000001", b"x")
    for forbidden in (
        lambda: list(client(STREAM).list_blobs()),
        lambda: client(STREAM).delete_blob("log-000000000001"),
        lambda: client(other).upload_blob("log-000000000001", b"x"),
        lambda: client(STREAM).delete_container(),
    ):
        with pytest.raises(HttpResponseError) as refused:
            forbidden()
        assert refused.value.status_code == 403


@needs_node
def test_an_expired_signature_is_refused_and_a_renewed_one_works(azurite, open_azure, tmp_path) -> None:
    storage: AzureStorage = open_azure(azurite)
    storage.open_stream(STREAM)
    forwarder = StorageForwarder(tmp_path, storage.access(STREAM, -60))
    with pytest.raises(NotTaken) as refused:
        forwarder.send(1, lambda: [b"x"])
    assert "sig=" not in str(refused.value).replace("sig=...", "")
    forwarder.renew(storage.access(STREAM, 600))
    forwarder.send(1, lambda: [b"x"])
    assert storage.logs(STREAM) == [1]
    forwarder.close()


@needs_node
def test_a_storage_of_another_authority_is_not_talked_to(azurite, open_azure, tmp_path) -> None:
    from lab.emulators.azurite.account import write_certificates

    storage: AzureStorage = open_azure(azurite)
    storage.open_stream(STREAM)
    access = storage.access(STREAM, 600)
    stranger = write_certificates(tmp_path / "stranger", ("127.0.0.1",)).ca.read_text()
    forwarder = StorageForwarder(
        tmp_path, type(access)(access.container, access.signature, access.expires_ns, stranger)
    )
    with pytest.raises(NotTaken):
        forwarder.send(1, lambda: [b"x"])
    assert storage.logs(STREAM) == []
    forwarder.close()


@needs_node
def test_a_source_reads_one_snapshot_and_nothing_else(azurite, open_azure) -> None:
    import ssl

    storage: AzureStorage = open_azure(azurite)
    etag = storage.write(BLOB, 0, b"1" * PAGE, storage.create(BLOB, SIZE))
    snapshot = storage.snapshot(BLOB, etag, {})
    storage.write(BLOB, 0, b"2" * PAGE, etag)
    source = storage.source(BLOB, snapshot, 600)
    context = ssl.create_default_context(cafile=str(azurite.azurite.certificates.ca))

    def get(url: str) -> bytes:
        assert url.startswith("https://127.0.0.1:")
        request = urllib.request.Request(url, headers={"Range": "bytes=0-511", "x-ms-version": "2021-08-06"})
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            return answer.read()

    assert get(source.secret_url) == b"1" * PAGE
    with pytest.raises(urllib.error.HTTPError):
        get(f"{source.url.partition('?')[0]}?{source.signature}")
