"""A sender whose document is not wanted reads the answer, however large the document is."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.replication.common.config import Endpoint
from lab.replication.common.dataserver import DataServer, Refused, Request, Response, Route
from lab.replication.common.introduction import PATH, Introduced, NotIntroduced
from lab.replication.common.link import Body, Link, Unreachable
from lab.replication.common.tls import Peer, UnknownPeer, client_context, registration_context, server_context

from certificates import Authority  # isort: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("length", [40 << 20, None], ids=["with a length", "in chunks"])
def test_an_unread_body_does_not_cost_the_answer(tmp_path: Path, length: int | None) -> None:
    def ignore(request: Request) -> Response:
        if request.parts["what"] == "refused":
            raise Refused(409, "gap", "not this one", expected=3)
        return Response(200, {"known": True})

    authority = Authority()
    server = DataServer(
        server_context(authority.issue(tmp_path / "s", "process-server", "ps1"), require_client=True),
        [Route("PUT", re.compile("/(?P<what>[a-z]+)"), ignore)],
    )
    port = free_port()
    server.listen_on({port})
    context = client_context(authority.issue(tmp_path / "c", "mobility", "app1"))
    link = Link(Endpoint("127.0.0.1", port), context, timeout=20)
    piece = bytes(1 << 20)
    try:
        for _ in range(3):
            assert link.send("PUT", "/known", Body(lambda: [piece] * 40, length)).status == 200
            reply = link.send("PUT", "/refused", Body(lambda: [piece] * 40, length))
            assert (reply.status, reply.json["expected"]) == (409, 3)
    finally:
        link.close()
        server.close()


class Visitors:
    """Both ends of an introduction that costs nothing: each one is good for ``seconds``, and ``refusing`` says no."""

    def __init__(self, seconds: float = 3600.0) -> None:
        self.seconds = seconds
        self.refusing = False
        self.received = 0

    def introduce(self, connection: http.client.HTTPSConnection) -> None:
        connection.request("POST", PATH, b"it is me")
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise NotIntroduced(f"HTTP {answer.status}")

    def receive(self, connection: ssl.SSLSocket, token: bytes) -> Introduced:
        if self.refusing or token != b"it is me":
            raise UnknownPeer("nobody I know")
        self.received += 1
        return Introduced(Peer("provider", "hv1", "kerberos"), time.monotonic() + self.seconds, b"so am I")


@contextmanager
def visited(folder: Path, visitors: Visitors) -> Iterator[Link]:
    authority = Authority()
    identity = authority.issue(folder / "s", "provider", "hv2")
    route = Route("PUT", re.compile("/"), lambda request: Response(200, {"name": request.peer.name}))
    server = DataServer(server_context(identity, require_client=False), [route], doorkeeper=visitors)
    port = free_port()
    server.listen_on({port})
    link = Link(Endpoint("127.0.0.1", port), registration_context(identity / "ca.pem"), 20, visitors)
    try:
        yield link
    finally:
        link.close()
        server.close()


def put_mib(link: Link) -> object:
    piece = bytes(1 << 20)
    return link.send("PUT", "/", Body(lambda: [piece] * 8, None)).json.get("name")


def test_an_introduction_is_good_for_all_requests_of_its_connection(tmp_path: Path) -> None:
    visitors = Visitors()
    with visited(tmp_path, visitors) as link:
        assert [put_mib(link) for _ in range(3)] == ["hv1"] * 3
        assert visitors.received == 1


def test_a_proof_that_has_run_out_is_renewed_by_a_new_connection(tmp_path: Path) -> None:
    visitors = Visitors(seconds=0.0)
    with visited(tmp_path, visitors) as link:
        # The first request comes too late already, on a connection that is not a kept one yet.
        with pytest.raises(Unreachable):
            put_mib(link)
        visitors.seconds = 3600.0
        assert put_mib(link) == "hv1"
        assert visitors.received == 2


def test_a_kept_connection_whose_proof_runs_out_costs_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitors = Visitors()
    with visited(tmp_path, visitors) as link:
        assert put_mib(link) == "hv1"
        monkeypatch.setattr(Introduced, "over", property(lambda _: visitors.received == 1))
        assert put_mib(link) == "hv1"
        assert visitors.received == 2


def test_who_is_not_received_is_not_answered_and_may_come_again(tmp_path: Path) -> None:
    visitors = Visitors()
    visitors.refusing = True
    with visited(tmp_path, visitors) as link:
        with pytest.raises(Unreachable, match="NotIntroduced: HTTP 401"):
            put_mib(link)
        visitors.refusing = False
        assert put_mib(link) == "hv1"


def test_no_request_goes_over_a_connection_that_was_opened_without_an_introduction(tmp_path: Path) -> None:
    visitors = Visitors()
    with visited(tmp_path, visitors) as link:
        assert put_mib(link) == "hv1"
        link._connection.close()
        assert put_mib(link) == "hv1"
        assert visitors.received == 2
