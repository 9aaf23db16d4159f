"""Public addresses: as rules, and between namespaces that stand for a caller on the internet and machines in Azure."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Interface

import pytest

from lab.networks.bridge import BridgeSwitches, run_ip
from lab.networks.public import NamespaceAddresses, PublicAddress, gateway_of, render

CALLER, MACHINE, OTHER = (f"pub{os.getpid()}-{letter}" for letter in "cmo")
CARDS = {
    CALLER: ("internet", "203.0.113.31/24"),
    MACHINE: ("azure", "10.10.0.11/24"),
    OTHER: ("azure", "10.10.0.12/24"),
}
WANTED = PublicAddress("internet", IPv4Interface("203.0.113.51/24"), "azure", IPv4Interface("10.10.0.11/24"))
PORT = 9022
SERVE = (
    "import socket,sys\n"
    "server=socket.create_server((sys.argv[1],int(sys.argv[2])))\n"
    "print('ready',flush=True)\n"
    "while True:\n"
    "  connection,caller=server.accept()\n"
    "  connection.sendall(caller[0].encode())\n"
    "  connection.close()\n"
)
CALL = (
    "import socket,sys\n"
    "with socket.create_connection((sys.argv[1],int(sys.argv[2])),3) as call: print(call.recv(100).decode())\n"
)


@pytest.fixture
def switches(bridges: tuple[BridgeSwitches, BridgeSwitches]) -> Iterator[BridgeSwitches]:
    """A lab with a caller on the internet and two machines in Azure, each of which says who calls."""
    if shutil.which("nft") is None:
        pytest.skip("nft is not installed")
    lab = bridges[0]
    for name, (network, address) in CARDS.items():
        lab.ensure(network)
        port = f"{name}p"[-15:]
        run_ip("netns", "add", name)
        run_ip("link", "add", port, "netns", lab.namespace, "type", "veth", "peer", "name", "eth0", "netns", name)
        run_ip("-n", lab.namespace, "link", "set", port, "master", lab.device(network), "up")
        run_ip("-n", name, "address", "add", address, "dev", "eth0")
        run_ip("-n", name, "link", "set", "eth0", "up")
    # As a caller would have to do who knows a private address.
    run_ip("-n", CALLER, "route", "add", "10.10.0.0/24", "via", "203.0.113.51", "dev", "eth0")
    servers = [serve(name) for name in (MACHINE, OTHER)]
    yield lab
    for server in servers:
        server.kill()
        server.communicate(timeout=20)
    for name in CARDS:
        run_ip("netns", "delete", name)


def serve(name: str) -> "subprocess.Popen[str]":
    address = CARDS[name][1].partition("/")[0]
    command = ["ip", "netns", "exec", name, sys.executable, "-c", SERVE, address, str(PORT)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    return server


def answer(address: str) -> str | None:
    """Call from the internet; who the machine says called it, None: nobody answered."""
    command = ["ip", "netns", "exec", CALLER, sys.executable, "-c", CALL, address, str(PORT)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else None


def nft(switches: BridgeSwitches, *arguments: str) -> str:
    return run_ip("netns", "exec", switches.namespace, "nft", *arguments)


def test_a_public_address_leads_to_its_machine_and_to_no_other(switches: BridgeSwitches) -> None:
    addresses = NamespaceAddresses(switches)
    assert answer("203.0.113.51") is None, "it answers before it was assigned"
    for _ in range(2):
        addresses.assign("app1-replica", WANTED)
        assert answer("203.0.113.51") == "10.10.0.1", "the machine needs no way to the caller's network"
    assert answer("10.10.0.12") is None, "another machine is reached from the internet"
    for _ in range(2):
        addresses.release("app1-replica")
        assert answer("203.0.113.51") is None
    assert "203.0.113.51" not in run_ip("-n", switches.namespace, "-br", "address", "show")


def test_a_private_address_is_not_reached_from_the_internet(switches: BridgeSwitches) -> None:
    """With its control: without the rule a caller gets through who knows the private address."""
    NamespaceAddresses(switches).assign("app1-replica", WANTED)
    run_ip("-n", MACHINE, "route", "add", "default", "via", "10.10.0.1")
    assert answer("10.10.0.11") is None
    (table,) = (line.split()[2] for line in nft(switches, "list", "tables").splitlines() if "public" in line)
    nft(switches, "flush", "chain", "ip", table, "routed")
    assert answer("10.10.0.11") == "203.0.113.31"


def test_a_machine_without_a_public_address_has_none_to_give_back(switches: BridgeSwitches) -> None:
    NamespaceAddresses(switches).release("nobody")


def test_the_gateway_is_the_first_address_of_the_network() -> None:
    assert gateway_of(IPv4Interface("10.10.7.200/22")) == IPv4Interface("10.10.4.1/22")


def test_rules_are_of_one_address_each() -> None:
    rules = render("public0", WANTED, "brout", "brin")
    assert "ip daddr 203.0.113.51 dnat to 10.10.0.11\n" in rules
    assert "snat to 10.10.0.1\n" in rules
    assert rules.count(" drop\n") == 2
