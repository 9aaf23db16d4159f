"""Hosts recognise one another by Kerberos: a real KDC on loopback, and the real code of both ends over real TLS."""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from certificates import Authority
from data_path import STREAM, document
from realm import Kdc, realm, realm_refusal
from ticket_hosts import HOSTS, SOON_S, TicketHosts

from lab.measure import ticket_probe
from lab.replication.common.control import CommandFailed
from lab.replication.common.introduction import PATH
from lab.replication.common.link import Body, Unreachable
from lab.replication.common.tls import CERTIFICATE, KERBEROS
from lab.replication.mobility.uplink import Interrupted
from lab.replication.provider import tickets
from lab.replication.provider.receiver import Receiver
from lab.replication.provider.tickets import TicketHolder, require_proof

REFUSAL = realm_refusal()
pytestmark = [
    pytest.mark.requirement("H2S-AUTH-KRB"),
    pytest.mark.skipif(REFUSAL is not None, reason=str(REFUSAL)),
]


@pytest.fixture(scope="module")
def kdc() -> Iterator[Kdc]:
    with realm() as made:
        made.add(*(f"host/{name}" for name in HOSTS), "somebody", "host/other")
        yield made


@pytest.fixture
def hosts(tmp_path: Path, authority: Authority, kdc: Kdc) -> Iterator[TicketHosts]:
    made = TicketHosts(tmp_path, authority, kdc)
    made.open_stream()
    yield made
    made.close()


def test_data_arrives_of_a_host_that_has_a_ticket(hosts: TicketHosts) -> None:
    outlet, content = hosts.outlet(), document(1, [(0, b"x" * 512)])
    assert outlet.expected() == 1
    outlet.put(1, Body(lambda: [content], len(content)))
    outlet.wait_forwarded(1)
    assert hosts.replica.read_bytes()[:512] == b"x" * 512
    assert hosts.heard.said == ["ok"]


@pytest.mark.parametrize("who", ["somebody", "host/hv3", "host/hv2", "host/other"])
def test_who_is_no_host_that_the_receiver_knows_is_refused(hosts: TicketHosts, who: str) -> None:
    class Other(tickets.Realm):
        def principal(self, host: str) -> str:
            return f"{who}@{self.realm}" if host == "hv1" else super().principal(host)

    mine = hosts.realm("hv1")
    other = Other(mine.realm, hosts.kdc.keytab(who), "hv1", mine.peers)
    with pytest.raises(Unreachable, match=f"does not take the ticket: {who}@.* is no host that hv2 knows"):
        hosts.ask(TicketHolder(other))


def test_a_host_that_another_streams_data_comes_from_is_refused(hosts: TicketHosts) -> None:
    hosts.open_stream(sender="hv3")
    assert hosts.ask(hosts.holder()).status == 403


def test_without_keys_it_is_said_and_it_goes_on_by_itself_once_they_are_there(
    hosts: TicketHosts, tmp_path: Path
) -> None:
    keytab = tmp_path / "keytab"
    outlet = hosts.outlet(keytab=keytab)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(outlet.expected)
        hosts.heard.wait("there are no keys for a ticket")
        hosts.replace_keytab(keytab, "hv1")
        assert waiting.result(SOON_S) == 1
    assert hosts.heard.said[-1] == "ok"


def test_a_problem_of_another_way_to_authenticate_is_over_with_it(hosts: TicketHosts, tmp_path: Path) -> None:
    without = hosts.outlet(keytab=tmp_path / "nowhere")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(without.expected)
        hosts.heard.wait("there are no keys for a ticket")
        without.abort()
        hosts.end()
        assert isinstance(waiting.exception(SOON_S), Interrupted)
    hosts.open_stream(CERTIFICATE)
    assert hosts.outlet(CERTIFICATE).expected() == 1
    assert hosts.heard.said[-1] == "ok"


def test_keys_that_the_realm_does_not_know_any_more_give_no_ticket(hosts: TicketHosts) -> None:
    hosts.kdc.change_key("host/hv1")
    with pytest.raises(Unreachable, match=r"NotIntroduced.*([Pp]reauthentication|integrity check) failed"):
        hosts.ask(hosts.holder())
    hosts.keytabs["hv1"] = hosts.kdc.keytab("host/hv1")
    assert hosts.ask(hosts.holder()).status == 200


def test_a_ticket_for_another_host_is_refused(hosts: TicketHosts) -> None:
    class Misled(TicketHolder):
        def _receiver(self, connection: object) -> str:
            return "hv3"

    with pytest.raises(Unreachable, match="does not take the ticket"):
        hosts.ask(Misled(hosts.realm("hv1")))


def test_a_receiver_that_is_not_known_gets_no_ticket(hosts: TicketHosts) -> None:
    stranger = tickets.Realm(hosts.realm("hv1").realm, hosts.keytabs["hv1"], "hv1", frozenset({"hv9"}))
    with pytest.raises(Unreachable, match="provider hv2 is no host that hv1 knows"):
        hosts.ask(TicketHolder(stranger))


def introduced(hosts: TicketHosts, token: bytes, connection: http.client.HTTPSConnection) -> int:
    """Send a token on a connection and return the status; with 200 the stream is open to it."""
    connection.request("POST", PATH, token)
    response = connection.getresponse()
    body = json.loads(response.read())
    assert response.status != 200 or base64.b64decode(body["token"])
    return response.status


def test_a_ticket_that_is_passed_on_over_another_connection_is_refused(
    hosts: TicketHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def relayed() -> int:
        first, second = hosts.connected(), hosts.connected()
        _, token = hosts.holder()._ticket("hv2", first.sock)
        return introduced(hosts, token, second)

    assert relayed() == 401
    # Its control: nothing else stops it, not even that both connections lead to the same host.
    from gssapi.raw import ChannelBindings

    monkeypatch.setattr(tickets, "_binding", lambda _: ChannelBindings(application_data=b"any connection"))
    assert relayed() == 200


def test_a_ticket_that_is_bound_to_nothing_is_refused(hosts: TicketHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = hosts.connected()
    with monkeypatch.context() as without:
        without.setattr(tickets, "_binding", lambda _: None)
        _, token = hosts.holder()._ticket("hv2", connection.sock)
    assert introduced(hosts, token, connection) == 401
    connection.request("GET", f"/v1/streams/{STREAM}")
    assert connection.getresponse().status == 403


def test_the_callers_of_suites_are_told_the_same(hosts: TicketHosts) -> None:
    def called(principal: str, service: str = "hv2", *, elsewhere: bool = False) -> tuple[int | None, int | None]:
        mine = hosts.realm("hv1")
        found = ticket_probe.probe(
            argparse.Namespace(
                address="127.0.0.1",
                port=hosts.port,
                path=f"/v1/streams/{STREAM}",
                ca=str(hosts.identity("hv1") / "ca.pem"),
                principal=f"{principal}@{mine.realm}",
                keytab=str(hosts.kdc.keytab(principal)),
                service=mine.principal(service),
                elsewhere=elsewhere,
            )
        )
        return found["introduction"], found["http"]

    assert called("host/hv1") == (200, 200)
    assert called("host/other") == (401, 403)
    assert called("host/hv1", "hv1") == (401, 403)
    assert called("host/hv1", elsewhere=True) == (401, 403)


def test_what_is_no_ticket_is_refused(hosts: TicketHosts) -> None:
    for token in (b"", b"no ticket", bytes(1000)):
        assert introduced(hosts, token, hosts.connected()) == 401


def test_the_stream_says_how_its_sender_has_to_authenticate(hosts: TicketHosts) -> None:
    ticket = hosts.holder()
    assert hosts.ask().status == 403
    assert hosts.ask(certificate="hv1").status == 401
    assert hosts.ask(ticket).status == 200
    hosts.open_stream(CERTIFICATE)
    assert hosts.ask().status == 403
    assert hosts.ask(ticket).status == 401
    assert hosts.ask(certificate="hv3").status == 403
    assert hosts.ask(certificate="hv1").status == 200


def test_with_certificates_everything_is_as_it_was(hosts: TicketHosts) -> None:
    hosts.open_stream(CERTIFICATE)
    assert hosts.outlet(CERTIFICATE).expected() == 1


def test_a_host_without_a_realm_refuses_the_order(hosts: TicketHosts) -> None:
    with pytest.raises(CommandFailed, match="belongs to no Kerberos realm"):
        require_proof(KERBEROS, None)
    with pytest.raises(CommandFailed, match="not 'password'"):
        require_proof("password", hosts.realm("hv1"))
    require_proof(CERTIFICATE, None)


def test_the_provider_of_a_host_reads_tickets_where_it_is_in_a_realm(hosts: TicketHosts) -> None:
    config, places = hosts.config("hv3"), SimpleNamespace(find=lambda _: None)
    made = Receiver(config, hosts.heard, places, None, None)
    assert made._target._doorkeeper == tickets.TicketReader(hosts.realm("hv3"))
    alone = replace(config, settings={key: value for key, value in config.settings.items() if key != "kerberos"})
    refusing = Receiver(alone, hosts.heard, places, None, None)
    stream = {"stream": STREAM, "machine": "app1", "data_port": hosts.port, "disks": [], "retention_s": 1}
    with pytest.raises(CommandFailed, match="nobody here recognises callers by kerberos"):
        refusing.handlers()["open-stream"]({**stream, "authentication": KERBEROS})


def test_several_hosts_are_recognised_at_a_time(hosts: TicketHosts) -> None:
    together = threading.Barrier(4)

    def ask(_: int) -> int:
        together.wait(SOON_S)
        return hosts.ask(hosts.holder()).status

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [200] * 4
