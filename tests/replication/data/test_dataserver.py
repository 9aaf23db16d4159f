"""A sender whose document is not wanted reads the answer, however large the document is."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from lab.replication.common.config import Endpoint
from lab.replication.common.dataserver import DataServer, Refused, Request, Response, Route
from lab.replication.common.link import Body, Link
from lab.replication.common.tls import client_context, server_context

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
