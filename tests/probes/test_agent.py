"""What an agent does with the orders of its configuration server, and what it tells when it cannot send."""

from __future__ import annotations

import pytest
from capture_standin import FileCapture
from data_path import MIB, NEVER_S, PS, STREAM, Path3, settled
from stack import AGENT, free_port

from lab.replication.mobility.agent import MobilityAgent
from lab.replication.mobility.session import COPY


@pytest.fixture
def path(tmp_path, authority):
    made = Path3(tmp_path, authority)
    yield made
    made.close()


@pytest.fixture
def agent(path):
    """The service that takes commands, on a machine with one disk."""
    path.create([MIB], b"x" * 4096)
    config = path.stack.config_of(AGENT)
    config.state_dir.mkdir()
    made = MobilityAgent(config, path.heard, lambda _: FileCapture(path.stack.disks))
    made.start()
    yield made
    made.close()


def order(port: int) -> dict[str, object]:
    server = {"name": "ps1", "address": "127.0.0.1", "port": port}
    return {"stream": STREAM, "process_server": server, "interval_s": NEVER_S, "mode": COPY, "replica_networks": []}


@pytest.mark.requirement("V2S-UA-LINK", "V2A-PORT-9443-CONF", "V2A-POLICY-APPLIES")
def test_an_agent_goes_where_it_is_told(path, agent):
    path.servers()
    agent.start_replication(order(path.stack.ports[PS]))
    path.heard.wait("recovery-point")
    port = free_port()
    path.open_ps(port=port)
    agent.start_replication(order(port))
    path.stack.disks.write(0, 512, b"new way" * 100)
    assert path.sound(path.wait_point(agent.cut({"stream": STREAM})))
    agent.stop_replication({"stream": STREAM})


@pytest.mark.requirement("LAB-NEGATIVE-CONTROL")
def test_a_shut_data_port_is_told_of_and_no_point_comes(path):
    path.create([MIB], b"x" * 4096)
    path.servers().replicate()
    points = len(path.heard.of("recovery-point"))
    path.stop_ps()
    path.stack.disks.write(0, 512, b"kept" * 100)
    cut = path.cut()
    said = path.heard.wait("health")
    assert any(item["process_server"] != "ok" for item in said)
    settled(0.3)
    assert len(path.heard.of("recovery-point")) == points
    path.start_ps()
    assert path.sound(path.wait_point(cut))
    said = path.heard.wait("health", 2)
    assert said[-1]["process_server"] == "ok"
