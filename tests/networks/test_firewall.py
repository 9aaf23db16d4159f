"""The default-deny firewall: as rules, and on a real bridge between two network namespaces."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.packet_filter import closed
from lab.networks.bridge import BridgeSwitches, run_ip
from lab.networks.firewall import Denied, Firewall, Flow, render
from lab.networks.protocol import NetworkError

ONE, TWO = IPv4Address("10.77.0.1"), IPv4Address("10.77.0.2")
FIRST, SECOND = f"fw{os.getpid()}-1", f"fw{os.getpid()}-2"
HOSTS = {FIRST: ONE, SECOND: TWO}
ADDRESSES = st.ip_addresses(v=4)
SERVE = (
    "import socket,sys\n"
    "servers=[socket.create_server((sys.argv[1],int(port))) for port in sys.argv[2:]]\n"
    "print('ready',flush=True)\n"
    "sys.stdin.read()\n"
)
CALL = "import socket,sys; socket.create_connection((sys.argv[1],int(sys.argv[2])),1)"


@given(st.lists(st.builds(Flow, ADDRESSES, ADDRESSES, st.integers(1, 65535), st.sampled_from(["tcp", "udp"]))))
def test_every_flow_is_let_through_once_and_the_rest_is_noted(flows: list[Flow]) -> None:
    rules = render(flows)
    assert rules.count(" accept\n") == 2 + 2 * len(set(flows))
    for flow in flows:
        assert f"ip saddr {flow.source} ip daddr {flow.target} {flow.protocol} dport {flow.port} accept\n" in rules
    assert rules.index("add @denied") > rules.rindex(" accept\n")
    assert rules.count("policy drop") == 2


@pytest.fixture
def bridge(bridges: tuple[BridgeSwitches, BridgeSwitches]) -> Iterator[BridgeSwitches]:
    """A lab's bridge with two machines on it, which are namespaces; the second serves two ports."""
    if shutil.which("nft") is None:
        pytest.skip("nft is not installed")
    switches = bridges[0]
    switches.ensure("lan")
    device = switches._bridge("lan")
    for name, address in HOSTS.items():
        port = f"{name}p"[-15:]
        run_ip("netns", "add", name)
        run_ip("link", "add", port, "netns", switches.namespace, "type", "veth", "peer", "name", "eth0", "netns", name)
        run_ip("-n", switches.namespace, "link", "set", port, "master", device, "up")
        run_ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        run_ip("-n", name, "link", "set", "eth0", "up")
    command = ["ip", "netns", "exec", SECOND, sys.executable, "-c", SERVE, str(TWO), "9443", "9444"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield switches
        server.communicate(timeout=20)
    for name in HOSTS:
        run_ip("netns", "delete", name)


def reaches(port: int) -> bool:
    command = ["ip", "netns", "exec", FIRST, sys.executable, "-c", CALL, str(TWO), str(port)]
    return subprocess.run(command, check=False, capture_output=True, timeout=20).returncode == 0


def test_what_is_not_listed_is_dropped_and_noted(bridge: BridgeSwitches) -> None:
    firewall = Firewall(bridge.namespace)
    assert reaches(9443)
    assert reaches(9444)
    with firewall.only([Flow(ONE, TWO, 9443)]):
        assert reaches(9443)
        assert firewall.denied() == []
        assert not reaches(9444)
        assert firewall.denied() == [Denied(ONE, TWO, "tcp", 9444)]
    assert reaches(9444), "the firewall is still closed"
    with firewall.only([]):
        assert not reaches(9443)
        assert firewall.denied() == [Denied(ONE, TWO, "tcp", 9443)], "what an earlier block denied is forgotten"


class Second:
    """Commands in the namespace of the second machine."""

    def check(self, *argv: str, stdin: str | None = None) -> str:
        return run_ip("netns", "exec", SECOND, *argv, given=stdin)


@pytest.mark.usefixtures("bridge")
def test_a_port_of_a_machine_is_closed_and_no_other() -> None:
    """How the proof of a planned failover keeps the replica's writes from the old host."""
    with closed(Second(), 9443):  # type: ignore[arg-type]
        assert not reaches(9443)
        assert reaches(9444)
    assert reaches(9443)


def test_an_open_firewall_knows_nothing_of_denied_flows(bridge: BridgeSwitches) -> None:
    with pytest.raises(NetworkError, match="nft"):
        Firewall(bridge.namespace).denied()


def test_a_lab_without_namespace_is_an_error() -> None:
    with pytest.raises(NetworkError), Firewall("recovery-lab-nobody").only([]):
        pass
