"""Public addresses: calls to an address on one network of a lab go to a machine on another, whose cards know nothing.

This is what a cloud does for a machine with a public address: its gateway translates, one address to one. It happens in
the lab's network namespace, and ends with it at the latest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from lab.networks.bridge import BridgeSwitches, run_ip
from lab.networks.naming import device_name
from lab.networks.protocol import NetworkError


@dataclass(frozen=True)
class PublicAddress:
    """``public`` on network ``outside`` leads to ``private`` on network ``inside``; both with their prefix."""

    outside: str
    public: IPv4Interface
    inside: str
    private: IPv4Interface

    @property
    def gateway(self) -> IPv4Interface:
        """The address that callers have inside: the first of the subnet, as in Azure."""
        return gateway_of(self.private)


def gateway_of(card: IPv4Interface) -> IPv4Interface:
    """Return the address of the gateway on a card's network."""
    return IPv4Interface((next(card.network.hosts()), card.network.prefixlen))


def render(table: str, wanted: PublicAddress, outside: str, inside: str) -> str:
    """Return the rules for one address; ``outside`` and ``inside`` are the devices of the networks. Pure.

    What is routed between the two and was not called at the public address is dropped, in both directions.
    """
    public, private = wanted.public.ip, wanted.private.ip
    return (
        f"table ip {table} {{\n"
        "  chain called { type nat hook prerouting priority dstnat; policy accept;\n"
        f"    ip daddr {public} dnat to {private}\n"
        "  }\n"
        # The machine has no way to the callers' network: to it they are its gateway.
        "  chain answered { type nat hook postrouting priority srcnat; policy accept;\n"
        f"    ct status dnat ip daddr {private} snat to {wanted.gateway.ip}\n"
        "  }\n"
        # By device, and not by default: bridged frames of the lab may pass these hooks too.
        "  chain routed { type filter hook forward priority filter; policy accept;\n"
        f'    iifname "{outside}" oifname "{inside}" ct status & dnat == 0 drop\n'
        f'    iifname "{inside}" oifname "{outside}" ct status & dnat == 0 drop\n'
        "  }\n"
        "}\n"
    )


@dataclass(frozen=True)
class NamespaceAddresses:
    """Public addresses on the bridges of one lab."""

    switches: BridgeSwitches

    def assign(self, machine: str, wanted: PublicAddress) -> None:
        """Answer at the public address, and translate."""
        self.release(machine)
        namespace = self.switches.namespace
        self.switches.answer_at(wanted.outside, wanted.public)
        self.switches.answer_at(wanted.inside, wanted.gateway)
        run_ip("netns", "exec", namespace, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        devices = (self.switches.device(wanted.outside), self.switches.device(wanted.inside))
        self._nft("-f", "-", rules=render(self._table(machine), wanted, *devices))

    def release(self, machine: str) -> None:
        """Answer no more; the address is read from the rules, which are all that remembers it."""
        try:
            found = json.loads(self._nft("-j", "list", "table", "ip", self._table(machine)))
        except NetworkError:
            return
        for address in set(_called(found)):
            self.switches.answer_no_more(address)
        self._nft("delete", "table", "ip", self._table(machine))

    def _table(self, machine: str) -> str:
        return device_name("public", self.switches.tag, machine)

    def _nft(self, *arguments: str, rules: str | None = None) -> str:
        return run_ip("netns", "exec", self.switches.namespace, "nft", *arguments, given=rules)


def _called(listing: dict[str, Any]) -> Iterator[IPv4Address]:
    """Yield the public addresses of listed rules."""
    for item in listing["nftables"]:
        for part in item.get("rule", {}).get("expr", ()) if item.get("rule", {}).get("chain") == "called" else ():
            with suppress(KeyError, ValueError):
                yield IPv4Address(part["match"]["right"])
