"""Boot media are served as they are, to who knows their names, and nothing else is."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lab.provision.media import MediaFolder, served

CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def folder(tmp_path: Path) -> MediaFolder:
    return MediaFolder(tmp_path / "media")


@pytest.fixture
def client(folder: MediaFolder) -> Iterator[httpx.Client]:
    with served(folder) as url:
        (folder.files / "secret").mkdir()
        (folder.files / "secret" / "app1.iso").write_bytes(CONTENT)
        trusted = ssl.create_default_context(cafile=folder.certificate)
        with httpx.Client(base_url=url, verify=trusted, trust_env=False) as client:
            yield client


def test_a_medium_is_served_whole_and_in_parts(client: httpx.Client) -> None:
    assert client.get("/secret/app1.iso").content == CONTENT
    assert client.head("/secret/app1.iso").headers["Content-Length"] == str(len(CONTENT))
    part = client.get("/secret/app1.iso", headers={"Range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, CONTENT[1000:2000])


@pytest.mark.parametrize(
    "path", ["/", "/secret", "/secret/", "/other.iso", "/../tls/key.pem", "/%2e%2e/tls/key.pem", "//etc/passwd"]
)
def test_nothing_else_is_served(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_nothing_is_taken(client: httpx.Client) -> None:
    assert client.put("/secret/app1.iso", content=b"x").status_code == 405
    assert client.get("/secret/app1.iso").content == CONTENT


def test_a_certificate_that_is_not_trusted_ends_the_connection(client: httpx.Client) -> None:
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(f"{client.base_url}/secret/app1.iso", trust_env=False)


def test_the_key_is_for_its_owner(client: httpx.Client, folder: MediaFolder) -> None:
    assert (folder.certificate.parent / "key.pem").stat().st_mode & 0o077 == 0
