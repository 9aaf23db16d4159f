"""The web site: pages show what the API says, forms start jobs, and neither can be turned against the operator."""

from __future__ import annotations

import re
import ssl
from html.parser import HTMLParser

import httpx
import pytest
from control_stand_ins import soon
from hypothesis import given
from hypothesis import strategies as st
from test_access import component_identity, operator_identity

from lab.replication.configuration_server.errors import BadRequest
from lab.replication.configuration_server.site.forms import arguments_of
from lab.replication.configuration_server.site.markup import VOID, join, table, tag
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState

HTML = {"Accept": "text/html"}
EVIL = "<script>alert(1)</script>\"'&"


@pytest.fixture
def browser(world):
    """An operator's browser: its certificate goes along with every call."""
    with client(world, operator_identity(world)) as http:
        yield http


def client(world, identity=None) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(world.config.ca_dir / "ca.pem"))
    if identity is not None:
        context.load_cert_chain(*identity)
    base = f"https://127.0.0.1:{world.server.port}"
    return httpx.Client(base_url=base, verify=context, trust_env=False, timeout=20, headers=HTML)


def form_of(page: str, operation: str) -> dict[str, str]:
    """Return the hidden fields of an operation's form; there has to be exactly one."""
    forms = re.findall(rf'<form method="post" action="[^"]*/{operation}">(.*?)</form>', page)
    assert len(forms) == 1, f"{len(forms)} forms of {operation}"
    return dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', forms[0]))


class Strict(HTMLParser):
    """Collects text and the elements, and fails at an element that is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, name, attributes):
        self.seen.append(name)
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.words.append(data)


def parsed(markup: str) -> Strict:
    parser = Strict()
    parser.feed(markup)
    parser.close()
    assert not parser.open
    return parser


@given(st.text(st.characters(blacklist_characters="\0\r")), st.text(st.characters(blacklist_characters="\0\r")))
def test_whatever_is_put_in_stays_text(child, value):
    markup = tag("p", child, title=value)
    assert parsed(markup).seen == ["p"]
    assert "".join(parsed(markup).words) == child
    assert parsed(table(child, (value,), [(child,)])).seen.count("td") == 1
    assert join([markup, child]).startswith(markup)


@pytest.mark.requirement("V2S-CS-MANAGE")
def test_the_overview_shows_what_the_api_says(world, browser):
    world.configure()
    world.stack.groups.put("shop", {"members": [{"name": "app1", "address": "10.10.0.11"}], "consistent": False})
    world.protected()
    world.stack.put_plan("all", {"groups": [{"machines": ["app1"]}]})
    page = browser.get("/console")
    assert page.status_code == 200
    text = " ".join(parsed(page.text.partition("\n")[2]).words)
    status = world.stack.machine("app1")
    words = ("app1", status.state, status.health.status, "shop", "all", "standard", "process-server-ps1", "enable")
    assert [word for word in words if word not in text] == []
    machine = browser.get("/console/machines/app1").text
    assert world.stack.recovery_points("app1")[-1].id in machine
    offered = set(re.findall(r"operations/([a-z-]+)\"", machine))
    assert offered == set(status.allowed) - {"apply-policy", "grow-disks"}


@pytest.mark.requirement("V2S-CS-MANAGE")
def test_an_operation_from_a_page_is_a_job_like_any_other(world, browser):
    world.protected()
    fields = form_of(browser.get("/console/machines/app1").text, "test-failover")
    answer = browser.post(
        "/console/machines/app1/operations/test-failover", data={**fields, "recovery_point": "latest-processed"}
    )
    assert answer.status_code == 303
    number = answer.headers["Location"].removeprefix("/console/jobs/")
    job = world.stack.wait_job(number, soon())
    assert (job.machine, job.operation) == ("app1", "test-failover")
    assert world.stack.machine("app1").test_machine == "app1-test"
    page = browser.get(f"/console/jobs/{number}").text
    assert all(step.name in page for step in job.steps)
    assert "cleanup-test-failover" in browser.get("/console/machines/app1").text


def test_what_is_refused_is_a_page_and_changes_nothing(world, browser):
    world.configure()
    token = form_of(browser.get("/console/machines/app1").text, "enable")
    answer = browser.post("/console/machines/app1/operations/enable", data=token)
    assert answer.status_code == 409
    assert "mobility-app1 is not registered" in answer.text
    assert answer.headers["Content-Type"].startswith("text/html")
    assert world.stack.machine("app1").state is MachineState.UNPROTECTED
    assert browser.get("/console/machines/nobody").status_code == 404
    assert browser.get("/console/jobs/x").status_code == 400


def test_a_member_of_a_consistent_group_is_refused_here_too(world, browser):
    world.configure()
    member = {"name": "app1", "address": "10.10.0.11"}
    world.stack.groups.put("shop", {"members": [member], "consistent": True})
    world.add_components()
    world.do("enable")
    world.finish_copy(world.master_target)
    world.wait(MachineState.PROTECTED)
    token = form_of(browser.get("/console/machines/app1").text, "failover")
    answer = browser.post("/console/machines/app1/operations/failover", data=token)
    assert (answer.status_code, "fails over as one" in answer.text) == (409, True)
    with pytest.raises(OperationRefused):
        world.do("failover")


def test_only_operators_see_anything(world):
    world.configure()
    component = component_identity(world.add("mobility", "app1"))
    for identity in (None, component):
        with client(world, identity) as http:
            for path in ("/console", "/console/machines/app1", "/console/jobs/1", "/console/style.css"):
                answer = http.get(path)
                assert answer.status_code == 403, path
                assert "standard" not in answer.text
            assert http.post("/console/machines/app1/operations/enable").status_code == 403
            assert http.get("/v1/overview").status_code == 403


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({}, None),
        ({}, "0" * 64),
        ({"Origin": "https://elsewhere.example"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
    ],
)
def test_a_form_of_another_site_is_refused(world, browser, headers, token):
    world.protected()
    own = form_of(browser.get("/console/machines/app1").text, "resynchronise")
    data = own if token is True else {} if token is None else {"csrf": token}
    told = len(world.agent.commands)
    answer = browser.post("/console/machines/app1/operations/resynchronise", data=data, headers=headers)
    assert answer.status_code == 403
    assert len(world.agent.commands) == told
    same = {"Origin": str(browser.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    accepted = browser.post("/console/machines/app1/operations/resynchronise", data=own, headers=same)
    assert accepted.status_code == 303


def test_a_form_of_an_earlier_run_is_refused(world, browser):
    world.protected()
    own = form_of(browser.get("/console/machines/app1").text, "resynchronise")
    world.restart_server()
    answer = browser.post("/console/machines/app1/operations/resynchronise", data=own)
    assert (answer.status_code, "load the page again" in answer.text) == (403, True)


def test_pages_run_nothing_and_are_not_kept(world, browser):
    world.configure()
    for path in ("/console", "/console/machines/app1", "/console/machines/nobody", "/console/style.css"):
        answer = browser.get(path)
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'; form-action")
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "<script" not in answer.text
        assert "style=" not in answer.text


def test_text_of_others_is_escaped_on_every_page(world, browser):
    world.protected()
    world.agent.client.event("resynchronisation-required", {"reason": EVIL}, machine="app1", stream=world.stream())
    world.process_server.answers["drain"] = lambda _: (_ for _ in ()).throw(OSError(EVIL))
    number = world.stack.start("app1", "failover")
    world.stack.wait(lambda: world.stack.job(number), lambda job: job.ended_ns is not None, "end", soon())
    for path in ("/console", "/console/machines/app1", f"/console/jobs/{number}"):
        page = browser.get(path).text
        assert "alert(1)" in page, f"{path} does not show it, so this proves nothing"
        assert "<script" not in page


def test_who_takes_no_pages_is_told_of_the_api(world, browser):
    answer = browser.get("/console", headers={"Accept": "application/json"})
    assert (answer.status_code, "/v1/overview" in answer.text) == (406, True)


def test_forms_say_what_the_api_is_told():
    assert arguments_of("failover", {"csrf": "x", "recovery_point": "latest", "shutdown_source": "yes"}) == {
        "recovery_point": "latest",
        "shutdown_source": True,
    }
    moved = {"process_server": "ps2", "process_server_address": "10.10.0.22"}
    assert arguments_of("move", moved) == {"process_server": {"name": "ps2", "address": "10.10.0.22"}}
    assert arguments_of("commit", {"csrf": "x"}) == {}
    with pytest.raises(BadRequest, match="shutdown_source"):
        arguments_of("commit", {"shutdown_source": "yes"})
