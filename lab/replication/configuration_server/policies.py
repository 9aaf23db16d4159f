"""Replication policies: the document of ``PUT /v1/policies/{name}`` and what makes no sense in one (domain 2.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lab.replication.common.tls import CERTIFICATE, PROOFS
from lab.replication.configuration_server.errors import BadRequest
from lab.replication.configuration_server.parsing import Reader
from lab.replication.retention import STANDARD_THINNING, Retention, Thinning, thinning_problem

MOST_SECONDS = 40 * 24 * 3600
MOST_PORT = 65535
MOST_STEPS = 16


@dataclass(frozen=True)
class Policy:
    """A replication policy; times in seconds.

    ``rpo_threshold_s`` only raises an alert. ``retention_s`` 0 keeps only the newest point; ``pruning`` thins points
    out before that. ``application_consistent_interval_s`` None makes no application-consistent points.
    ``authentication`` is how a host proves to another one who it is; between servers and agents it is by certificate.
    """

    recovery_point_interval_s: int
    retention_s: int
    rpo_threshold_s: int
    process_server_port: int = 9443
    master_target_port: int = 9444
    application_consistent_interval_s: int | None = None
    pruning: tuple[Thinning, ...] = STANDARD_THINNING
    authentication: str = CERTIFICATE

    @property
    def retention(self) -> Retention:
        """What the master target keeps."""
        return Retention(self.retention_s, self.pruning)


def parse_policy(value: object) -> Policy:
    """Read a policy.

    Raises:
        BadRequest: it is not one, or it makes no sense; the message names the place.
    """
    reader = Reader.of(value, "policy")
    reader.only(*Policy.__dataclass_fields__)
    policy = Policy(
        recovery_point_interval_s=reader.integer("recovery_point_interval_s", 1, MOST_SECONDS),
        retention_s=reader.integer("retention_s", 0, MOST_SECONDS),
        rpo_threshold_s=reader.integer("rpo_threshold_s", 1, MOST_SECONDS),
        process_server_port=_port(reader, "process_server_port", Policy.process_server_port),
        master_target_port=_port(reader, "master_target_port", Policy.master_target_port),
        application_consistent_interval_s=_application_interval(reader),
        pruning=_pruning(reader) if "pruning" in reader.value else STANDARD_THINNING,
        authentication=_authentication(reader),
    )
    for problem in nonsense(policy):
        raise BadRequest(f"policy.{problem}")
    return policy


def nonsense(policy: Policy) -> Iterator[str]:
    """Yield what contradicts itself, as ``field: message``."""
    interval, retention = policy.recovery_point_interval_s, policy.retention_s
    if 0 < retention < interval:
        yield f"retention_s: {retention} s are shorter than recovery_point_interval_s, {interval} s"
    if policy.rpo_threshold_s < interval:
        yield f"rpo_threshold_s: with a point every {interval} s it is always above {policy.rpo_threshold_s} s"
    application = policy.application_consistent_interval_s
    if application is not None and application < interval:
        yield f"application_consistent_interval_s: {application} s are shorter than recovery_point_interval_s"
    if application is not None and application >= retention:
        yield f"application_consistent_interval_s: {application} s have to be less than retention_s, {retention} s"
    if policy.process_server_port == policy.master_target_port:
        yield "master_target_port: the two data ports have to differ"
    problem = thinning_problem(policy.pruning)
    if problem is not None:
        yield f"pruning: {problem}"


def _port(reader: Reader, key: str, default: int) -> int:
    return reader.integer(key, 1, MOST_PORT) if reader.has(key) else default


def _authentication(reader: Reader) -> str:
    if not reader.has("authentication"):
        return CERTIFICATE
    value = reader.text("authentication")
    if value not in PROOFS:
        raise BadRequest(f"policy.authentication: one of {', '.join(PROOFS)} is expected, not {value!r}")
    return value


def _application_interval(reader: Reader) -> int | None:
    key = "application_consistent_interval_s"
    return reader.integer(key, 1, MOST_SECONDS) if reader.has(key) else None


def _pruning(reader: Reader) -> tuple[Thinning, ...]:
    steps = reader.objects("pruning")
    if len(steps) > MOST_STEPS:
        raise BadRequest(f"policy.pruning: at most {MOST_STEPS} steps are possible, not {len(steps)}")
    for step in steps:
        step.only("after_s", "every_s")
    return tuple(
        Thinning(step.integer("after_s", 0, MOST_SECONDS), step.integer("every_s", 1, MOST_SECONDS)) for step in steps
    )
