"""A default-deny firewall between the machines of a lab, on its bridges: what is not listed is dropped and noted.

Stateless, because a bridge has no connection tracking in every kernel: a flow's answers are let through by their port
of origin. ARP and ICMP pass; IPv6 does not, the lab's networks have none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal

from lab.networks.bridge import run_ip
from lab.networks.protocol import NetworkError

TABLE = "recovery_lab"
MOST_DENIED = 4096


@dataclass(frozen=True, order=True)
class Flow:
    """Connections, or datagrams and their answers, from one address to a port of another."""

    source: IPv4Address
    target: IPv4Address
    port: int
    protocol: Literal["tcp", "udp"] = "tcp"

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{self.source} to {self.target}:{self.port}/{self.protocol}"


@dataclass(frozen=True, order=True)
class Denied:
    """Packets that were dropped: protocol (tcp or udp), and the port that they were for."""

    source: IPv4Address
    target: IPv4Address
    protocol: str
    port: int

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{self.source} to {self.target}:{self.port}/{self.protocol}"


def render(flows: Iterable[Flow]) -> str:
    """Return the rules that let these flows through and nothing else. Pure."""
    allowed = "".join(
        f"    ip saddr {flow.source} ip daddr {flow.target} {flow.protocol} dport {flow.port} accept\n"
        f"    ip saddr {flow.target} ip daddr {flow.source} {flow.protocol} sport {flow.port} accept\n"
        for flow in sorted(set(flows))
    )
    # A machine speaks to another over a bridge (forward), and to an endpoint of the lab on the bridge itself (input).
    chains = "".join(
        f"  chain {hook} {{ type filter hook {hook} priority 0; policy drop; jump rules; }}\n"
        for hook in ("forward", "input")
    )
    kind = "ipv4_addr . ipv4_addr . inet_proto . inet_service"
    return (
        f"table bridge {TABLE} {{\n"
        f"  set denied {{ type {kind}; flags dynamic; size {MOST_DENIED}; }}\n"
        "  chain rules {\n"
        "    ether type arp accept\n"
        "    ip protocol icmp accept\n"
        f"{allowed}"
        "    ip protocol { tcp, udp } add @denied { ip saddr . ip daddr . meta l4proto . th dport }\n"
        "  }\n"
        f"{chains}}}\n"
    )


@dataclass(frozen=True)
class Firewall:
    """The firewall of one lab, in its network namespace. It is gone with the namespace at the latest."""

    namespace: str

    @contextmanager
    def only(self, flows: Iterable[Flow]) -> Iterator[None]:
        """Let nothing but these flows through during the block; what was denied before is forgotten.

        Raises:
            NetworkError: the rules cannot be set.
        """
        self._nft("-f", "-", rules=f"table bridge {TABLE}\ndelete table bridge {TABLE}\n{render(flows)}")
        try:
            yield
        finally:
            self._nft("delete", "table", "bridge", TABLE)

    def denied(self) -> list[Denied]:
        """Return what was dropped until now. Raises NetworkError when the firewall is open."""
        found = json.loads(self._nft("-j", "list", "set", "bridge", TABLE, "denied"))
        elements = [element["concat"] for item in found["nftables"] for element in item.get("set", {}).get("elem", ())]
        return sorted(
            Denied(IPv4Address(source), IPv4Address(target), str(protocol), int(port))
            for source, target, protocol, port in elements
        )

    def _nft(self, *arguments: str, rules: str | None = None) -> str:
        try:
            return run_ip("netns", "exec", self.namespace, "nft", *arguments, given=rules)
        except NetworkError as error:
            if 'exec of "nft" failed' in str(error):
                raise NetworkError(f"{error} (apt-get install nftables)") from error
            raise
