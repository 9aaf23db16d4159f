"""Who is let in, what is readable on the way, and what a port does with what it should not take."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

import pytest
from cryptography import x509
from data_path import MIB, MT, PS, SOON_S, STREAM, Path3, document, put, stranger
from stack import free_port

from lab.replication.common.config import Endpoint
from lab.replication.common.link import Link, Unreachable
from lab.replication.common.storage_access import StorageAccess
from lab.replication.common.tls import client_context
from lab.replication.process_server.forwarding import NotTaken
from lab.replication.process_server.storage import StorageForwarder
from lab.waiting import Deadline, wait_until

CANARY = b"canary-that-nobody-may-read-on-the-way " * 400


@pytest.fixture
def doors(tmp_path, authority):
    """Both servers, with an open stream and no agent."""
    made = Path3(tmp_path, authority)
    made.create([MIB])
    yield made.servers()
    made.close()


@pytest.mark.requirement("LAB-MUTUAL-TLS", "V2A-PORT-9443", "V2S-MT-RECV")
@pytest.mark.parametrize(
    ("server", "kind", "name"),
    [
        (PS, "mobility", "app2"),
        (PS, "process-server", "ps1"),
        (PS, "operator", "app1"),
        (MT, "mobility", "app1"),
        (MT, "process-server", "ps2"),
    ],
)
def test_only_the_one_whose_stream_it_is_may_send(doors, server, kind, name):
    link = doors.link(kind, name, doors.stack.ports[server])
    assert put(link, 1, document(1)).status == 403


@pytest.mark.requirement("LAB-MUTUAL-TLS", "V2A-PS-ENCRYPT")
@pytest.mark.parametrize("server", [PS, MT])
def test_without_a_certificate_or_with_old_tls_there_is_no_conversation(doors, authority, server):
    port = doors.stack.ports[server]
    nobody = ssl.create_default_context(cadata=authority.pem.decode())
    with pytest.raises(Unreachable):
        doors.link("", "", port, nobody).call("GET", f"/v1/streams/{STREAM}")
    old = ssl.create_default_context(cadata=authority.pem.decode())
    identity = doors.identity("mobility" if server == PS else "process-server", "app1" if server == PS else "ps1")
    old.load_cert_chain(identity / "machine.pem", identity / "machine.key")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert not answer_to(old, port)


@pytest.mark.requirement("LAB-MUTUAL-TLS", "V2A-PS-ENCRYPT")
@pytest.mark.parametrize("server", [PS, MT])
def test_plain_text_is_not_answered(doors, server):
    with socket.create_connection(("127.0.0.1", doors.stack.ports[server]), SOON_S) as plain:
        plain.settimeout(SOON_S)
        plain.sendall(f"GET /v1/streams/{STREAM} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            assert b"HTTP/1.1" not in plain.recv(100)


def answer_to(context: ssl.SSLContext, port: int) -> bytes:
    """Return what a server says to a request, nothing when there is no conversation."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), SOON_S) as plain:  # noqa: SIM117
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
            secure.sendall(f"GET /v1/streams/{STREAM} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            return secure.recv(100)
    return b""


@pytest.mark.requirement("LAB-MUTUAL-TLS")
def test_a_certificate_that_names_nobody_is_refused(doors, tmp_path, monkeypatch):
    uri = x509.UniformResourceIdentifier
    monkeypatch.setattr(x509, "UniformResourceIdentifier", lambda _: uri("urn:somebody:else"))
    identity = doors.stack.authority.issue(tmp_path / "nameless", "mobility", "app1")
    link = doors.link("", "", doors.stack.ports[PS], client_context(identity))
    assert put(link, 1, document(1)).status == 403


@pytest.mark.requirement("LAB-MUTUAL-TLS", "V2A-PS-ENCRYPT", "H2S-PROV-TLS")
@pytest.mark.parametrize(("kind", "name"), [("mobility", "app1"), ("provider", "hv1")])
def test_a_client_does_not_talk_to_a_server_of_another_authority(doors, tmp_path, kind, name):
    with stranger(tmp_path) as port:
        mine = client_context(doors.identity(kind, name))
        link = Link(Endpoint("127.0.0.1", port), mine, SOON_S)
        with pytest.raises(Unreachable, match="certificate verify failed"):
            link.call("GET", "/")


@pytest.mark.requirement("V2A-PORT-443-PS-OUT", "V2A-PS-ENCRYPT")
def test_data_does_not_go_to_a_storage_of_another_authority(doors, tmp_path):
    authority = doors.stack.authority.pem.decode()
    with stranger(tmp_path) as port:
        access = StorageAccess(f"https://127.0.0.1:{port}/{STREAM}", "sig=secret", 1 << 62, authority)
        forwarder = StorageForwarder(tmp_path, access)
        with pytest.raises(NotTaken, match="certificate verify failed"):
            forwarder.send(1, lambda: [b"x"])
        forwarder.close()


@pytest.mark.requirement("H2S-AUTH-CERT", "LAB-MUTUAL-TLS")
def test_a_receiving_host_knows_the_sending_one_by_its_certificate(tmp_path, authority):
    path = Path3(tmp_path, authority)
    try:
        path.create([MIB])
        path.start_mt(sender="provider")
        path.open_mt(process_server="hv1")
        port = path.stack.ports[MT]
        for kind, name in (("provider", "hv2"), ("process-server", "hv1"), ("mobility", "app1")):
            assert put(path.link(kind, name, port), 1, document(1)).status == 403
        assert put(path.link("provider", "hv1", port), 1, document(1)).status == 201
    finally:
        path.close()


@pytest.mark.requirement("V2A-PS-ENCRYPT")
def test_a_canary_cannot_be_read_on_the_way(doors):
    doors.stack.disks.write(0, 0, CANARY[: len(CANARY) // 512 * 512])
    relay = Relay(doors.stack.ports[PS])
    doors.start_agent(port=relay.port)
    doors.heard.wait("recovery-point")
    doors.stop_agent()
    relay.close()
    assert len(relay.seen) > 512
    assert CANARY[:32] not in relay.seen
    assert doors.stack.replica(0).read_bytes()[:32] == CANARY[:32]


class Relay:
    """Passes bytes on in both directions and keeps a copy."""

    def __init__(self, towards: int) -> None:
        self.seen = bytearray()
        self._towards = towards
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._towards), SOON_S)
                self._open += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self.seen += data
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for connection in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@pytest.mark.requirement("V2A-PORT-9443")
def test_the_data_port_is_open_on_every_address(doors):
    for address in ("127.0.0.1", "127.0.0.2"):
        socket.create_connection((address, doors.stack.ports[PS]), SOON_S).close()


@pytest.mark.requirement("V2A-PORT-9443-CONF")
def test_the_data_port_moves(doors):
    old, new = doors.stack.ports[PS], free_port()
    doors.open_ps(port=new)
    link = doors.link("mobility", "app1", new)
    assert put(link, 1, document(1)).status == 201
    with pytest.raises(Unreachable):
        doors.link("mobility", "app1", old).call("GET", f"/v1/streams/{STREAM}")


@pytest.mark.requirement("V2A-PS-GATEWAY", "LAB-WRITE-ORDER")
def test_what_is_damaged_or_out_of_order_is_not_taken(doors):
    link = doors.link("mobility", "app1", doors.stack.ports[PS])
    good = document(1, [(0, b"x" * 512)])
    flipped = bytearray(good)
    flipped[-90] ^= 4
    for bad in (good[:-1], bytes(flipped), b"", document(2)):
        assert put(link, 1, bad).status == 400
    reply = put(link, 3, document(3))
    assert (reply.status, reply.json["expected"]) == (409, 1)
    assert put(link, 1, good).status == 201
    assert put(link, 1, good).status == 200


@pytest.mark.requirement("V2A-PS-CACHE")
def test_a_full_cache_takes_nothing(doors):
    doors.ps._quota = 100
    link = doors.link("mobility", "app1", doors.stack.ports[PS])
    assert put(link, 1, document(1, [(0, b"x" * 512)])).status == 507


@pytest.mark.requirement("LAB-FENCE")
def test_a_session_that_ended_takes_nothing(doors):
    link = doors.link("mobility", "app1", doors.stack.ports[PS])
    assert put(link, 1, document(1)).status == 201
    doors.ps.close_stream({"stream": STREAM})
    again = doors.link("mobility", "app1", doors.stack.ports[PS])
    assert put(again, 2, document(2)).status == 403


@pytest.mark.requirement("V2A-PS-SCALE")
def test_a_stream_that_moves_takes_nothing_new(doors):
    doors.ps.seal_stream({"stream": STREAM})
    link = doors.link("mobility", "app1", doors.stack.ports[PS])
    assert put(link, 1, document(1)).status == 503


@pytest.mark.requirement("V2A-PS-COMPRESS", "V2S-PS-OPT", "V2A-PS-ORDER", "V2S-PS-XFER")
def test_data_is_received_then_made_smaller_then_sent(doors):
    link = doors.link("mobility", "app1", doors.stack.ports[PS])
    put(link, 1, document(1, [(0, b"compress me " * 5000)]))
    report = doors.ps._statistics.to_json
    wait_until(lambda: report()["recent"], Deadline.after(SOON_S), "forwarding", every=0.02)
    [record] = report()["recent"]
    assert record["received_ns"] <= record["optimised_ns"] <= record["sent_ns"]
    assert record["wire_bytes"] < record["raw_bytes"] / 4
