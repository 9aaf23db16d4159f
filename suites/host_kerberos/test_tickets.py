"""Hosts authenticate by Kerberos instead of certificates, and by certificates again afterwards.

About four minutes without acceleration, one of which is a pause of the stack's own before it tries again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fixtures.equality import POINT_SECONDS, point_now
from fixtures.host_tickets import authenticate_by, host_itself, kdc, make_stranger, show_ticket, without_keys
from fixtures.host_ways import call_recovery_host, known_caller
from fixtures.outages import Outages
from fixtures.stacks import SSH_PORT, Protected
from lab.measure.ports import open_ports
from lab.stacks.protocol import Stack
from lab.stacks.reference.realm import KDC_PORT, KEYTAB
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_hosts, pytest.mark.needs_secondary_site, pytest.mark.needs("kdc")]

KERBEROS, CERTIFICATE = "kerberos", "certificate"
UNAUTHORISED = 401
NOTICE_SECONDS = 120.0
NO_KEYS = "there are no keys for a ticket"


@pytest.fixture(scope="module")
def by_tickets(stack: Stack, primary_role: Protected) -> Iterator[str]:
    """The stream of a machine whose hosts authenticate by Kerberos; afterwards it goes on with certificates."""
    authenticate_by(stack, primary_role, KERBEROS)
    yield str(stack.machine(primary_role.name).attributes["stream"])
    authenticate_by(stack, primary_role, CERTIFICATE)
    point_now(stack, primary_role)


@pytest.mark.requirement("H2S-AUTH-KRB", "H2S-DELTA")
def test_deltas_arrive_by_ticket_and_a_certificate_is_not_enough(
    stack: Stack, primary_role: Protected, by_tickets: str
) -> None:
    assert point_now(stack, primary_role).stream == by_tickets, "the same replication goes on"
    answer = call_recovery_host(primary_role, by_tickets, **known_caller())
    assert answer.tls == "TLSv1.3"
    assert answer.http == UNAUTHORISED
    for how in ({}, {"plain": True}):
        answer = call_recovery_host(primary_role, by_tickets, **how)
        assert answer.tcp, "the port is not reachable, so this proves nothing"
        assert answer.refused, f"the recovery host answered {answer.http} to {how}"


@pytest.mark.requirement("H2S-AUTH-KRB")
def test_a_ticket_of_nobody_for_another_or_of_another_connection_is_refused(
    primary_role: Protected, by_tickets: str, evidence: EvidenceRecorder
) -> None:
    host = host_itself(primary_role)
    own = show_ticket(primary_role, by_tickets, host)
    assert (own.introduction, own.http) == (200, 200), own.error
    stranger = make_stranger(primary_role)
    answers = {
        "a principal that is no host": show_ticket(primary_role, by_tickets, stranger),
        "a ticket for another service": show_ticket(primary_role, by_tickets, host, service=primary_role.host.name),
        "a ticket of another connection": show_ticket(primary_role, by_tickets, host, elsewhere=True),
    }
    evidence.attach("refusals.txt", "\n".join(f"{who}: {answer.error}" for who, answer in answers.items()))
    for who, answer in answers.items():
        assert answer.introduction == UNAUTHORISED, f"{who}: {answer}"
        assert answer.http == 403, f"{who}: {answer}"


@pytest.mark.requirement("H2S-AUTH-KRB")
def test_keys_are_for_root_and_the_kdc_listens_for_tickets_only(
    primary_role: Protected, record_ports: Callable[..., None]
) -> None:
    for host in (primary_role.host, primary_role.recovery_host):
        assert host.ssh.check("stat", "-c", "%U %a", KEYTAB).split() == ["root", "600"]
    machine = kdc(primary_role)
    found = open_ports(machine.ssh)
    record_ports(machine.name, {SSH_PORT, KDC_PORT}, found)
    assert found == {SSH_PORT, KDC_PORT}


@pytest.mark.requirement("H2S-AUTH-KRB", "LAB-RECOVERY")
def test_without_a_ticket_it_is_said_and_goes_on_by_itself_once_there_is_one(
    stack: Stack, primary_role: Protected, by_tickets: str, outages: Outages, evidence: EvidenceRecorder
) -> None:
    # A connection is as good as the ticket that it was opened with: over certificates and back there is a new one.
    authenticate_by(stack, primary_role, CERTIFICATE)
    with outages.during("the host had no Kerberos keys"), without_keys(primary_role.host):
        authenticate_by(stack, primary_role, KERBEROS)
        status = stack.wait_status(
            primary_role.name,
            lambda found: any(NO_KEYS in cause for cause in found.health.causes),
            "health that says what is missing",
            Deadline.after(NOTICE_SECONDS),
        )
        evidence.attach("health.txt", "\n".join(status.health.causes))
        assert status.health.status == "critical"
    assert point_now(stack, primary_role).stream == by_tickets, "nothing had to be copied again"
    status = stack.wait_status(
        primary_role.name,
        lambda found: not any(NO_KEYS in cause for cause in found.health.causes),
        "health without it",
        Deadline.after(POINT_SECONDS),
    )
    assert not status.resynchronising
