"""A run that could have happened, for the tests of reports."""

from collections.abc import Mapping
from typing import Any

from lab.ledger import Event, EventKind
from lab.topology.facts import Acceleration, AccelerationFact, Facts

STARTED = {
    "run": "20261124T120000-embedded",
    "harness": "0.1.0",
    "scenario": "P2S",
    "topology": "embedded",
    "topology_digest": "ab" * 32,
    "description": "Two sites on one libvirt host; app1 and app2 are replicated from primary to recovery.",
    "stack": "reference",
    "stand_ins": [
        {"what": "virtual machine on libvirt", "stands_in_for": "physical server", "machines": ["app1", "app2"]},
        {"what": "two networks on one host", "stands_in_for": "two sites and a WAN", "machines": ["ps1", "mt1"]},
    ],
    "policies": {"standard": {"recovery_point_interval": 15.0, "retention": 7200.0, "process_server_port": 9443}},
}


def event(kind: EventKind, data: Mapping[str, Any]) -> Event:
    return Event(kind, "2026-11-24T12:00:00.000000000Z", "sample", "happened", data)


def a_test(name: str, outcome: str, *ids: str, evidence: tuple[Mapping[str, Any], ...] = ()) -> Event:
    data = {"nodeid": f"suites/{name}", "outcome": outcome, "duration": 1.5, "requirements": ids, "evidence": evidence}
    return event(EventKind.TEST, {**data, "message": "AssertionError: <b>late</b>" if outcome == "failed" else ""})


def a_measurement(name: str, value: float, unit: str, context: object = "", **more: object) -> Event:
    return event(
        EventKind.MEASUREMENT, {"name": name, "value": value, "unit": unit, "n": 1, "context": context, **more}
    )


def a_run(*inside: Event, exit_code: int | None = 0) -> list[Event]:
    events = [event(EventKind.RUN_STARTED, STARTED), event(EventKind.ENVIRONMENT, {"cores": 2, "acceleration": "tcg"})]
    ended = [] if exit_code is None else [event(EventKind.RUN_ENDED, {"exit_code": exit_code})]
    return [*events, *inside, *ended]


FACTS = Facts(
    cores=2,
    memory_bytes=24 * 2**30,
    memory_available_bytes=22 * 2**30,
    disk_path="/lab",
    disk_free_bytes=80 * 2**30,
    acceleration=AccelerationFact(Acceleration.TCG, proved=True, reason="a kernel did not boot under KVM"),
    libvirt=(),
    missing_tools=frozenset(),
    systemd=False,
    root=True,
)
