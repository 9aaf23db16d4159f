"""The emulator's doors: what is bounded, confined, authenticated."""

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from esxi_host import Client, ask, server

from lab.emulators.esxi import server as front
from lab.emulators.esxi.server import EsxiServer
from lab.waiting import Deadline, wait_until

BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>
<RetrieveServiceContent xmlns="urn:vim25"><_this type="ServiceInstance">&b;</_this></RetrieveServiceContent>
</soapenv:Body></soapenv:Envelope>"""
DATASTORE = "dsName=datastore1&dcPath=ha-datacenter"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[EsxiServer]:
    with server(tmp_path / "host") as found:
        yield found


def root(host: EsxiServer) -> Path:
    return host.emulator.site.folder.root


def test_no_entity_is_expanded(host: EsxiServer) -> None:
    status, body, _ = ask(host, "POST", "/sdk", BOMB)
    assert (status, b"document type declaration" in body) == (400, True)
    external = BOMB.replace(b'<!ENTITY a "aaaaaaaaaa">', b'<!ENTITY a SYSTEM "file:///etc/hostname">')
    assert ask(host, "POST", "/sdk", external)[0] == 400


@pytest.mark.parametrize("body", [b"", b"no xml", b"<a/>", b"<a><b></a>", b"\xff\xfe\x00"])
def test_what_is_no_request_is_a_bad_request(host: EsxiServer, body: bytes) -> None:
    assert ask(host, "POST", "/sdk", body)[0] == 400


def test_a_request_is_bounded(host: EsxiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "MOST_REQUEST", 1000)
    assert ask(host, "POST", "/sdk", b"x" * 1001)[0] == 413
    assert _chunked(host, b"3e9\r\n") == b"413"
    assert _chunked(host, b"0\r\n\r\n") == b"400"
    assert _chunked(host, b"-1\r\n") == b"413"
    assert _chunked(host, b"nonsense\r\n") == b"400"


def _chunked(host: EsxiServer, chunks: bytes) -> bytes:
    context = ssl.create_default_context(cafile=host.certificate)
    with (
        socket.create_connection(("127.0.0.1", host.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(b"POST /sdk HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
        return connection.recv(4096).split(b" ")[1]


def test_one_idle_client_does_not_keep_others_out(host: EsxiServer) -> None:
    with socket.create_connection(("127.0.0.1", host.port), timeout=20):
        assert ask(host, "GET", "/sdk/vimServiceVersions.xml", login=False)[0] == 200


def test_files_need_a_login(host: EsxiServer) -> None:
    (root(host) / "x").write_bytes(b"content")
    path = f"/folder/x?{DATASTORE}"
    status, _, headers = ask(host, "GET", path, login=False)
    assert (status, headers["WWW-Authenticate"][:5]) == (401, "Basic")
    assert ask(host, "PUT", path, b"new", login=False)[0] == 401
    assert ask(host, "GET", path, login=False, Authorization="Basic cm9vdDp3cm9uZw==")[0] == 401
    assert ask(host, "GET", path, login=False, Authorization="Basic !!!")[0] == 401
    assert ask(host, "GET", path, login=False, Cookie='vmware_soap_session="guessed"')[0] == 401
    assert (root(host) / "x").read_bytes() == b"content"
    assert ask(host, "GET", path)[:2] == (200, b"content")


def test_a_session_cookie_opens_files_until_the_logout(host: EsxiServer) -> None:
    (root(host) / "x").write_bytes(b"content")
    client = Client(host.emulator)
    cookie = f'vmware_soap_session="{client.stub._cookie}"'
    path = f"/folder/x?{DATASTORE}"
    assert ask(host, "GET", path, login=False, Cookie=cookie)[0] == 200
    client.content.sessionManager.Logout()
    assert ask(host, "GET", path, login=False, Cookie=cookie)[0] == 401


@pytest.mark.parametrize(
    "path", ["/folder/../key.pem", "/folder/%2e%2e/key.pem", "/folder/a/../../key.pem", "/folder/link/key.pem"]
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_no_file_outside_of_the_datastore_is_reached(host: EsxiServer, path: str, method: str) -> None:
    (root(host) / "link").symlink_to(root(host).parent)
    key = root(host).parent / "key.pem"
    before = key.read_bytes()
    status, body, _ = ask(host, method, f"{path}?{DATASTORE}", b"x" if method == "PUT" else None)
    assert (status, b"PRIVATE" in body, key.read_bytes()) == (400, False, before)


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=10-", 416, None),
        ("bytes=4-2", 416, None),
        ("bytes=-", 416, None),
        ("bytes=0-1,3-4", 416, None),
        ("lines=1-2", 416, None),
    ],
)
def test_ranges(host: EsxiServer, asked: str, status: int, expected: bytes | None) -> None:
    (root(host) / "x").write_bytes(b"0123456789")
    found, body, _ = ask(host, "GET", f"/folder/x?{DATASTORE}", Range=asked)
    assert found == status
    if expected is not None:
        assert body == expected


def test_files_are_stored_with_holes_and_only_where_there_is_a_folder(host: EsxiServer) -> None:
    content = b"\1" * (1 << 20) + bytes(8 << 20) + b"\2"
    assert ask(host, "PUT", f"/folder/x?{DATASTORE}", content)[0] == 201
    file = root(host) / "x"
    assert file.read_bytes() == content
    assert file.stat().st_blocks * 512 < 3 << 20
    assert ask(host, "PUT", f"/folder/nowhere/x?{DATASTORE}", b"x")[0] == 404
    assert ask(host, "GET", f"/folder/y?{DATASTORE}")[0] == 404
    assert ask(host, "GET", "/folder/x?dsName=other")[0] == 404
    assert sorted(file.name for file in root(host).iterdir()) == ["x"]


def test_a_file_that_breaks_off_leaves_the_old_one(host: EsxiServer) -> None:
    (root(host) / "x").write_bytes(b"old")
    begun = root(host) / ".x.part"
    context = ssl.create_default_context(cafile=host.certificate)
    login = b"Authorization: Basic cm9vdDpzZWNyZXQ=\r\nContent-Length: 100\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", host.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(f"PUT /folder/x?{DATASTORE} HTTP/1.1\r\nHost: x\r\n".encode() + login + b"half")
        wait_until(begun.exists, Deadline.after(10), "begin of the file", every=0.01)
    wait_until(lambda: not begun.exists(), Deadline.after(10), "end of the file", every=0.01)
    assert ask(host, "GET", f"/folder/x?{DATASTORE}")[1] == b"old"


def test_only_loopback_is_listened_on(host: EsxiServer) -> None:
    listening = Path("/proc/net/tcp").read_text().split()
    assert f"0100007F:{host.port:04X}" in listening
    assert f"00000000:{host.port:04X}" not in listening


def test_the_key_is_the_owners(host: EsxiServer) -> None:
    assert (root(host).parent / "key.pem").stat().st_mode & 0o777 == 0o600


def test_many_clients_at_once(host: EsxiServer) -> None:
    answers: list[int] = []
    path = "/sdk/vimServiceVersions.xml"
    threads = [threading.Thread(target=lambda: answers.append(ask(host, "GET", path)[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == [200] * 8
