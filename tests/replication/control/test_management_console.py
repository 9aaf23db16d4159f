"""The console: the same state as the API, jobs like any other, and refused away from the configuration server."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from control_stand_ins import World, soon

from lab.replication.configuration_server.console_place import at_home
from lab.replication.console.__main__ import main
from lab.replication.console.text import COLUMNS, PARTS, facts, listing
from lab.stacks.machines import MachineState


@pytest.fixture
def console(world, tmp_path, capsys):
    """Runs the console's command line as installed beside the configuration server."""
    config = config_of(world, tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["--config", str(config), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def config_of(world, folder):
    identity = folder / "console"
    identity.mkdir()
    issued = world.config.issued_dir
    for source, name in (("ca.pem", "ca.pem"), ("console.pem", "machine.pem"), ("console.key", "machine.key")):
        (identity / name).write_bytes((issued / source).read_bytes())
    config = folder / "console.json"
    value = {"kind": "console", "name": "cs1", "identity_dir": str(identity), "state_dir": str(identity)}
    server = {"address": "127.0.0.1", "port": world.server.port}
    config.write_text(json.dumps({**value, "addresses": [], "configuration_server": server}))
    return config


@pytest.mark.requirement("V2S-CS-MANAGE", "V2S-VC-OPT")
def test_the_console_shows_the_state_that_the_api_has(world, console):
    world.protected()
    code, out, _ = console("--json", "status")
    document = json.loads(out)
    assert code == 0
    assert [(each["name"], each["state"]) for each in document["machines"]] == [("app1", "protected")]
    assert [each["id"] for each in document["components"]] == [each.id for each in world.stack.components()]
    code, text, _ = console("status")
    assert (code, all(f"{part}:" in text for part in PARTS)) == (0, True)
    assert "protected" in console("machine", "app1")[1]
    assert world.stack.recovery_points("app1")[-1].id in console("points", "app1")[1]
    assert "enable" in console("jobs", "app1")[1]


@pytest.mark.requirement("V2S-CS-MANAGE")
def test_an_operation_of_the_console_is_a_job_like_any_other(world, console):
    world.protected()
    code, out, _ = console("--json", "do", "app1", "test-failover", "--wait", "20")
    job = json.loads(out)
    assert (code, job["state"], job["operation"]) == (0, "succeeded", "test-failover")
    assert world.stack.job(job["id"]).steps
    assert world.stack.machine("app1").test_machine == "app1-test"
    code, out, _ = console("do", "app1", "cleanup-test-failover")
    world.stack.wait_job(out.split()[1], soon())
    assert code == 0
    assert "succeeded" in console("job", out.split()[1])[1]


def test_refusals_failures_and_mistakes_have_codes(world, console, tmp_path):
    world.configure()
    code, _, problem = console("do", "app1", "failover")
    assert (code, "operation-refused" in problem) == (1, True)
    assert console("machine", "nobody")[0] == 1
    world.add_components()
    world.agent.answers["start-replication"] = lambda _: (_ for _ in ()).throw(OSError("busy"))
    code, out, _ = console("do", "app1", "enable", "--wait", "20")
    assert (code, "busy" in out) == (1, True)
    assert main(["--config", str(tmp_path / "none.json"), "status"]) == 2
    with pytest.raises(SystemExit) as usage:
        console("do", "app1", "failover", "--arguments", "[1]")
    assert usage.value.code == 2


@pytest.mark.requirement("V2S-VC-COLOC")
def test_a_console_elsewhere_is_refused_and_an_operator_is_not(world, console, monkeypatch):
    monkeypatch.setattr("lab.replication.configuration_server.console_place.at_home", lambda *_: False)
    code, out, problem = console("status")
    assert (code, out) == (1, "")
    assert "console-elsewhere" in problem
    assert world.stack.machines() == [], "the operator's own certificate still works"


@pytest.mark.requirement("V2S-VC-COLOC")
@pytest.mark.parametrize(
    ("caller", "home"),
    [
        ("127.0.0.1", True),
        ("10.30.0.31", True),
        ("10.20.0.77", True),
        ("10.30.0.21", False),
        ("10.10.0.21", False),
        ("::1", True),
        ("fe80::1", False),
    ],
)
def test_home_is_this_machine_and_the_networks_of_its_site(caller, home):
    assert at_home(caller, ["10.20.0.31", "10.30.0.31"], ["10.20.0.0/24"]) is home


def test_the_certificate_of_a_console_opens_nothing_else(world, tmp_path):
    from lab.replication.common.config import load_config
    from lab.replication.common.link import Link
    from lab.replication.common.tls import client_context

    config = load_config(config_of(world, tmp_path))
    link = Link(config.configuration_server, client_context(config.identity_dir), timeout=20)
    assert link.call("GET", "/v1/commands?wait=0").status == 403
    assert link.call("GET", "/v1/machines").status == 200
    link.close()


@pytest.mark.requirement("V2S-VC-OPT")
def test_a_server_without_a_console_works(tmp_path):
    """Nothing else of these tests has a console; its certificate alone is issued, and may be thrown away."""
    world = World(tmp_path)
    try:
        for suffix in ("pem", "key"):
            (world.config.issued_dir / f"console.{suffix}").unlink()
        world.restart_server()
        world.protected()
        assert world.stack.machine("app1").state is MachineState.PROTECTED
        assert replace(world.config).site_networks == ()
    finally:
        world.close()


def test_text_of_others_does_not_steer_the_terminal():
    shown = facts({"name": "app1\x1b[2J", "list": [1]})
    assert shown == "name  app1?[2J"
    row = {"name": "a", "members": [{"name": "x\ny"}], "consistent": True}
    assert listing("groups", [row]).splitlines()[2].split() == ["a", "x?y", "True"]
    assert all(part in COLUMNS for part in PARTS)
