"""The operator's client of the configuration server."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from lab.stacks.deployment import Component, SetupStep, SiteInventory
from lab.stacks.errors import StackError
from lab.stacks.jobs import Job, JobFailed, JobState
from lab.stacks.machines import MachineState, MachineStatus, Operation, RecoveryPoint
from lab.stacks.plans import PlanRun, PlanRunEnded, PlanRunKind, PlanRunState
from lab.stacks.protocol import Event
from lab.stacks.reference import wire
from lab.stacks.reference.group_calls import GroupCalls
from lab.waiting import Deadline, DeadlineExceeded

T = TypeVar("T")

POLL_S = 15.0
ANSWER_S = 60.0
"""A configuration server in a machine without acceleration needs a while for a TLS handshake."""


class ReferenceStack:
    """Talks to a configuration server with a client certificate of kind ``operator``.

    Args:
        base_url: such as ``https://127.0.0.1:40443``, the near end of a tunnel.
        host_name: the name in the server's certificate: ``configuration-server.<name>.recovery``.
        identity_dir: has ``ca.pem``, ``operator.pem`` and ``operator.key``.
        settings: how each machine is to be protected (see ``settings.py``).
        setup_steps: what is set up with a vault, in its order.
    """

    def __init__(
        self,
        base_url: str,
        host_name: str,
        identity_dir: Path,
        settings: Mapping[str, Mapping[str, Any]],
        setup_steps: Sequence[SetupStep] = (),
    ) -> None:
        context = ssl.create_default_context(cafile=str(identity_dir / "ca.pem"))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(identity_dir / "operator.pem", identity_dir / "operator.key")
        # A proxy of the user's environment would be asked for an address inside the lab.
        self._http = httpx.Client(base_url=base_url, verify=context, timeout=ANSWER_S, trust_env=False)
        self._extensions = {"sni_hostname": host_name}
        self._settings = settings
        self.setup_steps = tuple(setup_steps)
        self.groups = GroupCalls(self)

    def __enter__(self) -> Self:
        """Use the client in a ``with`` statement."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close all connections."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def components(self) -> Sequence[Component]:
        """Return the registered parts. Raises StackError."""
        return [wire.component(item) for item in self.call("GET", "/v1/components")["components"]]

    def steps_done(self) -> Mapping[str, Sequence[str]]:
        """Return the names of the steps of the set-up that were done, by kind. Raises StackError."""
        if not self.setup_steps:
            return {}
        return {kind: list(names) for kind, names in self.call("GET", "/v1/vault")["setup"].items()}

    def do_step(self, step: SetupStep) -> None:
        """Do a step of the set-up. Raises OperationRefused (too early), InvalidRequest, StackError."""
        self.call("PUT", f"/v1/vault/{step.kind}/{step.name}", step.document)

    def set_up(self) -> None:
        """Do the steps of the set-up that are left, in their order. Raises StackError."""
        done = self.steps_done()
        for step in self.setup_steps:
            if step.name not in done.get(step.kind, ()):
                self.do_step(step)

    def inventory(self) -> Mapping[str, SiteInventory]:
        """Return what was discovered on VMware hosts, by site. Raises StackError."""
        sites = self.call("GET", "/v1/inventory")["sites"]
        return {site: wire.site_inventory(value) for site, value in sites.items()}

    def put_policy(self, name: str, policy: Mapping[str, Any]) -> Mapping[str, str]:
        """Store a policy; return the job of each machine that is told. Raises InvalidRequest, OperationRefused."""
        jobs: dict[str, str] = self.call("PUT", f"/v1/policies/{name}", policy)["jobs"]
        return jobs

    def policy(self, name: str) -> Mapping[str, Any]:
        """Return a policy. Raises NotFound."""
        policy: Mapping[str, Any] = self.call("GET", f"/v1/policies/{name}")
        return policy

    def protect(self, machine: str, otherwise: Mapping[str, Any] | None = None) -> None:
        """Hand over how a machine is to be protected. Raises InvalidRequest, OperationRefused, StackError."""
        if machine not in self._settings:
            raise StackError(f"the topology does not say how to protect {machine}")
        self.put_machine(machine, {**self._settings[machine], **(otherwise or {})})

    def put_machine(self, machine: str, settings: Mapping[str, Any]) -> MachineStatus:
        """Store settings of one's own. Raises InvalidRequest, OperationRefused."""
        return wire.machine_status(self.call("PUT", f"/v1/machines/{machine}", settings))

    def start(self, machine: str, operation: Operation, arguments: Mapping[str, Any] | None = None) -> str:
        """Start an operation and return the id of its job. Raises OperationRefused, NotFound, InvalidRequest."""
        path = f"/v1/machines/{machine}/operations/{operation}"
        return str(self.call("POST", path, arguments or {})["job"])

    def run(
        self, machine: str, operation: Operation, deadline: Deadline, arguments: Mapping[str, Any] | None = None
    ) -> Job:
        """Start an operation and wait for its end. Raises OperationRefused, JobFailed, DeadlineExceeded."""
        return self.wait_job(self.start(machine, operation, arguments), deadline)

    def cut_now(self, machine: str, deadline: Deadline) -> Job:
        """Have a recovery point made now. Raises OperationRefused, JobFailed, DeadlineExceeded."""
        return self.wait_job(str(self.call("POST", f"/v1/machines/{machine}/cut", {})["job"]), deadline)

    def machine(self, name: str) -> MachineStatus:
        """Return the present status. Raises NotFound."""
        return wire.machine_status(self.call("GET", f"/v1/machines/{name}"))

    def machines(self) -> Sequence[MachineStatus]:
        """Return all machines, by name. Raises StackError."""
        return [wire.machine_status(item) for item in self.call("GET", "/v1/machines")["machines"]]

    def recovery_points(self, name: str) -> Sequence[RecoveryPoint]:
        """Return the recovery points, oldest first. Raises NotFound."""
        value = self.call("GET", f"/v1/machines/{name}/recovery-points")
        return [wire.recovery_point(item) for item in value["recovery_points"]]

    def job(self, job: str) -> Job:
        """Return a job. Raises NotFound."""
        return wire.job(self.call("GET", f"/v1/jobs/{job}"))

    def events(self, after: int, wait: float = 0) -> Sequence[Event]:
        """Return the events after a number, waiting up to ``wait`` seconds for one. Raises StackError."""
        value = self.call("GET", f"/v1/events?after={after}&wait={wait:g}", patience=wait)
        return [wire.event(item) for item in value["events"]]

    def wait_state(self, name: str, *states: MachineState, deadline: Deadline) -> MachineStatus:
        """Wait for one of ``states``. Raises StackError for a failed state that was not asked for, DeadlineExceeded."""

        def reached(status: MachineStatus) -> bool:
            if status.state in states:
                return True
            if status.state.is_failure:
                raise StackError(f"{name} is {status.state}: {'; '.join(status.health.causes)}")
            return False

        return self.wait_status(name, reached, f"{name} in state {' or '.join(states)}", deadline)

    def wait_status(
        self, name: str, accept: Callable[[MachineStatus], bool], what: str, deadline: Deadline
    ) -> MachineStatus:
        """Wait until ``accept`` is content with a machine. Raises DeadlineExceeded."""
        return self.wait(lambda: self.machine(name), accept, what, deadline)

    def wait_recovery_point(self, name: str, after_ns: int, deadline: Deadline) -> RecoveryPoint:
        """Wait for a point whose cut began after ``after_ns`` (source's clock). Raises DeadlineExceeded."""

        def newer() -> RecoveryPoint | None:
            return next((point for point in self.recovery_points(name) if point.begin_ns > after_ns), None)

        found = self.wait(newer, lambda point: point is not None, f"recovery point of {name}", deadline)
        if found is None:
            raise StackError(f"recovery point of {name} vanished")
        return found

    def wait_job(self, job: str, deadline: Deadline) -> Job:
        """Wait until a job has succeeded. Raises JobFailed, DeadlineExceeded."""
        done = self.wait(
            lambda: self.job(job), lambda found: found.state is not JobState.RUNNING, f"end of job {job}", deadline
        )
        if done.state is not JobState.SUCCEEDED:
            raise JobFailed(done)
        return done

    def put_plan(self, name: str, plan: Mapping[str, Any]) -> None:
        """Store a recovery plan. Raises InvalidRequest, OperationRefused while a run of it is active."""
        self.call("PUT", f"/v1/plans/{name}", plan)

    def plan(self, name: str) -> Mapping[str, Any]:
        """Return a recovery plan as it was put. Raises NotFound."""
        plan: Mapping[str, Any] = self.call("GET", f"/v1/plans/{name}")
        return plan

    def delete_plan(self, name: str) -> None:
        """Remove a recovery plan. Raises NotFound, OperationRefused."""
        self.call("DELETE", f"/v1/plans/{name}")

    def start_plan(self, name: str, kind: PlanRunKind, arguments: Mapping[str, Any] | None = None) -> str:
        """Begin a run and return its id. Raises NotFound, InvalidRequest, OperationRefused."""
        return str(self.call("POST", f"/v1/plans/{name}/runs", {"kind": kind, **(arguments or {})})["run"])

    def plan_run(self, name: str, run: str) -> PlanRun:
        """Return a run. Raises NotFound."""
        return wire.plan_run(self.call("GET", f"/v1/plans/{name}/runs/{run}"))

    def continue_plan(self, name: str, run: str) -> PlanRun:
        """Say that the manual action a run waits for is done. Raises OperationRefused."""
        return wire.plan_run(self.call("POST", f"/v1/plans/{name}/runs/{run}/continue"))

    def cancel_plan(self, name: str, run: str) -> PlanRun:
        """Begin no further step of a run. Raises OperationRefused."""
        return wire.plan_run(self.call("POST", f"/v1/plans/{name}/runs/{run}/cancel"))

    def resume_plan(self, name: str, run: str) -> PlanRun:
        """Do again what failed or was interrupted, and then the rest. Raises OperationRefused."""
        return wire.plan_run(self.call("POST", f"/v1/plans/{name}/runs/{run}/resume"))

    def wait_plan(self, name: str, run: str, *states: PlanRunState, deadline: Deadline) -> PlanRun:
        """Wait for one of ``states``. Raises PlanRunEnded if the run ends in another, DeadlineExceeded."""

        def reached(found: PlanRun) -> bool:
            if found.state.is_end and found.state not in states:
                raise PlanRunEnded(found)
            return found.state in states

        return self.wait(
            lambda: self.plan_run(name, run), reached, f"run {run} of plan {name} {' or '.join(states)}", deadline
        )

    def wait(self, look: Callable[[], T], accept: Callable[[T], bool], what: str, deadline: Deadline) -> T:
        """Look again after every event: the server wakes us, nobody sleeps."""
        last = self._newest_event()
        while True:
            value = look()
            if accept(value):
                return value
            if deadline.expired:
                raise DeadlineExceeded(f"no {what} within {deadline.seconds:.0f} s; last seen: {value}")
            events = self.events(last, wait=deadline.clamp(POLL_S))
            last = events[-1].id if events else last

    def _newest_event(self) -> int:
        last = 0
        while events := self.events(last):
            last = events[-1].id
        return last

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, patience: float = 0) -> Any:
        """Make a call of the operator's API and return the answer. Raises StackError or one of its kinds."""
        try:
            answer = self._http.request(
                method, path, json=body, timeout=ANSWER_S + patience, extensions=self._extensions
            )
            value = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise StackError(f"the configuration server does not answer {method} {path}: {error!r}") from error
        if not answer.is_success:
            raise wire.error_of(answer.status_code, value)
        return value
