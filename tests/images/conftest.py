from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from lab.images.identity import Filesystem, Identity, NetworkCard, Route, new_ssh_key

MANAGEMENT = NetworkCard("management", "52:54:00:12:34:56", None)
PRIMARY = NetworkCard(
    "primary",
    "52:54:00:00:00:02",
    IPv4Interface("10.10.0.11/24"),
    (Route(IPv4Network("10.30.0.0/24"), IPv4Address("10.10.0.21")),),
)


@pytest.fixture(scope="session")
def identity() -> Identity:
    return Identity(
        lab="lab1",
        machine="app1",
        host_key=new_ssh_key("app1"),
        authorized_keys=("ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"),
        cards=(MANAGEMENT, PRIMARY),
        filesystems=(Filesystem("data", "ext4", "/data"),),
        hosts=(("app1", "10.10.0.11"), ("ps1", "10.10.0.21")),
        forwards_packets=False,
    )
