"""The programs themselves: their files, their exit codes, and being killed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest
from control_stand_ins import PASSPHRASE, POLICY, SETTINGS, fabric_identity, soon

from lab.replication.configuration_server.__main__ import main
from lab.replication.fabric.__main__ import main as fabric_main
from lab.stacks.errors import StackError
from lab.stacks.reference.client import ReferenceStack
from lab.waiting import wait_until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def config(tmp_path):
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    value = {
        "name": "cs1",
        "listen": {"address": "127.0.0.1", "port": free_port()},
        "addresses": ["127.0.0.1"],
        "identity_dir": str(tmp_path / "identity"),
        "ca_dir": str(tmp_path / "ca"),
        "issued_dir": str(tmp_path / "issued"),
        "database": str(tmp_path / "control.db"),
        "passphrase_file": str(tmp_path / "passphrase"),
        "fabrics": {"recovery": {"address": "127.0.0.1", "port": free_port()}},
        "deadlines": {"command": 30},
    }
    path = tmp_path / "configuration-server.json"
    path.write_text(json.dumps(value))
    return path


@contextmanager
def program(module: str, config):
    process = subprocess.Popen([sys.executable, "-m", module, "--config", str(config)])
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


def answering(stack):
    def probe():
        try:
            return stack.machines() is not None
        except StackError:
            return None

    return wait_until(probe, soon(), "answer")


def test_a_killed_server_keeps_what_it_had_accepted(config):
    value = json.loads(config.read_text())
    assert main(["init", "--config", str(config)]) == 0
    url = f"https://127.0.0.1:{value['listen']['port']}"
    issued = config.parent / "issued"
    with ReferenceStack(url, "configuration-server.cs1.recovery", issued, {"app1": SETTINGS}) as stack:
        with program("lab.replication.configuration_server", config) as process:
            answering(stack)
            stack.put_policy("standard", POLICY)
            stack.protect("app1")
            process.send_signal(signal.SIGKILL)
            process.wait(20)
        with program("lab.replication.configuration_server", config) as process:
            answering(stack)
            assert [machine.name for machine in stack.machines()] == ["app1"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


def test_a_fabric_runs_as_a_program(config):
    value = json.loads(config.read_text())
    assert main(["init", "--config", str(config)]) == 0
    identity = fabric_identity(config.parent / "issued", config.parent, "recovery")
    fabric = config.parent / "fabric.json"
    listen = value["fabrics"]["recovery"]
    fabric.write_text(
        json.dumps({"name": "recovery", "listen": listen, "identity_dir": str(identity), "driver": {"kind": "memory"}})
    )

    def open_port():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", listen["port"])) == 0

    with program("lab.replication.fabric", fabric) as process:
        wait_until(open_port, soon(), "open port")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize("start", [main, fabric_main])
def test_a_bad_configuration_is_an_exit_code(tmp_path, start):
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    assert start(["--config", str(bad)]) == 2
    assert start(["--config", str(tmp_path / "missing.json")]) == 2
    bad.write_text("{")
    assert start(["--config", str(bad)]) == 2
