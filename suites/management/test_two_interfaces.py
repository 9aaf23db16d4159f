"""The web site and the optional console reach the state that the API has, and their operations are jobs like any other.

Two or three minutes: a few pages, two recovery points, and the console installed and removed again on two machines. It
changes nothing that a later subject depends on.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fixtures.stacks import Protected
from lab.machines.ssh import Result
from lab.provision.lab import Lab, LabMachine
from lab.stacks.protocol import Stack
from lab.stacks.reference.components import PORT, configuration_server_name
from lab.stacks.reference.deploy import CONSOLE_COMMAND, credentials, install_console, remove_console
from lab.topology.machines import Role
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_management

ANSWER_SECONDS = 120.0
JOB_SECONDS = 300.0


class Browser:
    """An operator's browser, as far as the web site needs one: pages, forms, a certificate."""

    def __init__(self, http: httpx.Client, server: str) -> None:
        self._http = http
        self._extensions = {"sni_hostname": f"configuration-server.{server}.recovery"}

    def page(self, path: str) -> str:
        """Return a page."""
        answer = self._http.get(path, extensions=self._extensions)
        assert answer.status_code == httpx.codes.OK, f"{path}: {answer.status_code}"
        return answer.text

    def press(self, machine: str, operation: str) -> str:
        """Send the form of an operation and return the number of its job."""
        path = f"/console/machines/{machine}/operations/{operation}"
        found = re.search(
            rf'action="{path}">.*?name="csrf" value="([0-9a-f]+)"', self.page(f"/console/machines/{machine}")
        )
        assert found is not None, f"the page of {machine} has no form of {operation}"
        answer = self._http.post(path, data={"csrf": found[1]}, extensions=self._extensions)
        assert answer.status_code == httpx.codes.SEE_OTHER, answer.text
        return answer.headers["Location"].rsplit("/", 1)[1]

    def press_blindly(self, machine: str, operation: str) -> int:
        """Send a form without its token, as another site would, and return the status."""
        path = f"/console/machines/{machine}/operations/{operation}"
        return self._http.post(path, data={}, extensions=self._extensions).status_code


@pytest.fixture(scope="module")
def browser(lab: Lab, protected: list[Protected]) -> Iterator[Browser]:
    """A browser at the configuration server's web site."""
    assert protected
    given, server = credentials(lab), configuration_server_name(lab.topology)
    context = ssl.create_default_context(cafile=str(given.ca))
    context.load_cert_chain(given.certificate, given.key)
    with (
        lab.machine(server).ssh.tunnel("127.0.0.1", PORT) as tunnel,
        httpx.Client(
            base_url=f"https://{tunnel.host}:{tunnel.port}",
            verify=context,
            timeout=ANSWER_SECONDS,
            trust_env=False,
            headers={"Accept": "text/html"},
        ) as http,
    ):
        yield Browser(http, server)


@pytest.fixture(scope="module")
def console(lab: Lab) -> Iterator[LabMachine]:
    """A machine with the console: the topology's, else the configuration server's, which loses it afterwards."""
    standing = list(lab.topology.machines_with(Role.CONSOLE))
    machine = lab.machine(standing[0] if standing else configuration_server_name(lab.topology))
    if not standing:
        install_console(lab, machine)
    yield machine
    if not standing:
        remove_console(machine)


def told(machine: LabMachine, *arguments: str) -> Result:
    """Run the console's command on a machine."""
    return machine.ssh.run(CONSOLE_COMMAND, *arguments, seconds=JOB_SECONDS)


def document(machine: LabMachine, *arguments: str) -> Any:
    """Return what the console prints as JSON."""
    done = told(machine, "--json", *arguments)
    assert done.ok, done.stderr
    return json.loads(done.stdout)


@pytest.mark.requirement("V2S-CS-MANAGE", "V2S-VC-COLOC")
def test_both_interfaces_show_the_state_that_the_api_has(
    stack: Stack, browser: Browser, console: LabMachine, evidence: EvidenceRecorder
) -> None:
    page, seen = browser.page("/console"), document(console, "status")
    evidence.attach("overview.html", page)
    evidence.attach("console.txt", told(console, "status").stdout)
    states = {status.name: status.state.value for status in stack.machines()}
    assert {machine["name"]: machine["state"] for machine in seen["machines"]} == states
    assert {component["id"] for component in seen["components"]} == {each.id for each in stack.components()}
    for name, state in states.items():
        assert f'href="/console/machines/{name}"' in page
        assert f"<td>{state}</td>" in browser.page(f"/console/machines/{name}")
    for part in ("groups", "plans", "policies", "components"):
        key = "id" if part == "components" else "name"
        assert [each[key] for each in seen[part] if f"<td>{each[key]}</td>" not in page] == [], part


@pytest.mark.requirement("V2S-CS-MANAGE")
def test_an_operation_from_a_page_is_a_job_like_any_other(
    stack: Stack, browser: Browser, other_role: Protected
) -> None:
    before = int(other_role.machine.ssh.check("date", "+%s%N"))
    job = stack.wait_job(browser.press(other_role.name, "cut"), Deadline.after(JOB_SECONDS))
    assert (job.machine, job.operation) == (other_role.name, "cut")
    point = stack.wait_recovery_point(other_role.name, before, Deadline.after(JOB_SECONDS))
    assert point.id in browser.page(f"/console/machines/{other_role.name}")
    assert "succeeded" in browser.page(f"/console/jobs/{job.id}")


@pytest.mark.requirement("V2S-CS-MANAGE", "LAB-REFUSAL")
def test_a_form_without_its_token_starts_nothing(console: LabMachine, browser: Browser, other_role: Protected) -> None:
    before = document(console, "jobs", other_role.name)
    assert browser.press_blindly(other_role.name, "resynchronise") == httpx.codes.FORBIDDEN
    assert document(console, "jobs", other_role.name) == before


@pytest.mark.requirement("V2S-CS-MANAGE")
def test_an_operation_of_the_console_is_a_job_like_any_other(
    stack: Stack, console: LabMachine, browser: Browser, other_role: Protected
) -> None:
    made = document(console, "do", other_role.name, "cut", "--wait", f"{JOB_SECONDS:.0f}")
    job = stack.job(made["id"])
    assert (job.machine, job.operation, job.state.value) == (other_role.name, "cut", "succeeded")
    assert f"/console/jobs/{job.id}" in browser.page(f"/console/machines/{other_role.name}")
    refused = told(console, "do", other_role.name, "planned-failover")
    assert not refused.ok
    assert "not-supported" in refused.stderr


@pytest.mark.needs_secondary_site  # the process server is at another site than the configuration server
@pytest.mark.requirement("V2S-VC-COLOC", "LAB-REFUSAL")
def test_a_console_at_another_site_is_refused(
    lab: Lab, console: LabMachine, primary_role: Protected, evidence: EvidenceRecorder
) -> None:
    """The same files that work at the configuration server's location."""
    assert told(console, "status", "machines").ok
    elsewhere = primary_role.process_server
    assert lab.topology.machines[elsewhere.name].site != lab.topology.machines[console.name].site
    install_console(lab, elsewhere)
    try:
        answer = told(elsewhere, "status")
    finally:
        remove_console(elsewhere)
    evidence.attach("refusal.txt", answer.stderr)
    assert not answer.ok
    assert "console-elsewhere" in answer.stderr
    assert not answer.stdout.strip()


@pytest.mark.requirement("V2S-VC-OPT")
def test_everything_works_without_the_console(
    lab: Lab, stack: Stack, console: LabMachine, browser: Browser, other_role: Protected
) -> None:
    remove_console(console)
    try:
        with_console = [
            machine.name
            for machine in map(lab.machine, lab.topology.machines)
            if machine.ssh.run("test", "-e", CONSOLE_COMMAND).ok
        ]
        stack.wait_job(browser.press(other_role.name, "cut"), Deadline.after(JOB_SECONDS))
        stack.cut_now(other_role.name, Deadline.after(JOB_SECONDS))
    finally:
        install_console(lab, console)
    assert not with_console, "a console was still there, so this proves nothing"
