"""Switches as Linux bridges in a network namespace of the lab's own. Needs root; reaches over a gigabit without KVM."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from lab.networks.naming import device_name, namespace_name
from lab.networks.protocol import NetworkError, TapWiring

COMMAND_SECONDS = 20.0
# Looked at directly: a lab that goes on asks for each of its cards, and a process for every question takes its time.
_NAMESPACES = Path("/run/netns")
_DEVICES = Path("/sys/class/net")


def run_ip(*arguments: str, given: str | None = None) -> str:
    """Run ``ip``, with ``given`` as its input, and return what it prints. Raises NetworkError with its message."""
    command = ["ip", *arguments]
    try:
        result = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=COMMAND_SECONDS, input=given
        )
    except FileNotFoundError as error:
        raise NetworkError("the `ip` command is missing (apt-get install iproute2)") from error
    except subprocess.CalledProcessError as error:
        raise NetworkError(f"`{' '.join(command)}` failed: {error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise NetworkError(f"`{' '.join(command)}` did not end within {COMMAND_SECONDS:.0f} s") from error
    return result.stdout


@dataclass(frozen=True)
class BridgeSwitches:
    """One namespace for a lab, one bridge for a network, one tap for a card. The host has no address on any of them."""

    tag: str

    @property
    def namespace(self) -> str:
        """Name of the lab's namespace."""
        return namespace_name(self.tag)

    def ensure(self, network: str) -> None:
        """Make the namespace and the bridge when they are missing."""
        if not self._exists:
            run_ip("netns", "add", self.namespace)
            run_ip("-n", self.namespace, "link", "set", "lo", "up")
        bridge = self._bridge(network)
        if bridge not in self._links():
            run_ip("-n", self.namespace, "link", "add", bridge, "type", "bridge", "mcast_snooping", "0")
            run_ip("-n", self.namespace, "link", "set", bridge, "alias", network, "up")

    def join(self, network: str, interface: str) -> None:
        """Join an interface of this host to a network; it goes back to the host with the namespace.

        Raises:
            NetworkError: there is no such interface, or this host itself uses it: it would be cut off.
        """
        self.ensure(network)
        if interface not in self._links():
            shown = json.loads(run_ip("-j", "address", "show", "dev", interface) or "[]")
            used = [item["local"] for link in shown for item in link.get("addr_info", ()) if item["scope"] == "global"]
            if used:
                raise NetworkError(
                    f"this host itself uses {interface} ({', '.join(used)}): give the lab one of its own"
                )
            run_ip("link", "set", interface, "netns", self.namespace)
        run_ip("-n", self.namespace, "link", "set", interface, "master", self._bridge(network), "up")

    def answer_at(self, network: str, address: IPv4Interface) -> None:
        """Give the namespace an address on a network, so that a process in it can serve the machines there."""
        self.ensure(network)
        bridge = self._bridge(network)
        shown = json.loads(run_ip("-n", self.namespace, "-j", "address", "show", "dev", bridge) or "[]")
        known = {item["local"] for link in shown for item in link.get("addr_info", ())}
        if str(address.ip) not in known:
            run_ip("-n", self.namespace, "address", "add", str(address), "dev", bridge)

    def answer_no_more(self, address: IPv4Address) -> None:
        """Take an address of the namespace away, on whichever network it is."""
        shown = json.loads(run_ip("-n", self.namespace, "-j", "address", "show") or "[]")
        for link in shown:
            for item in link.get("addr_info", ()):
                if item["local"] == str(address):
                    place = f"{address}/{item['prefixlen']}"
                    run_ip("-n", self.namespace, "address", "delete", place, "dev", link["ifname"])

    def device(self, network: str) -> str:
        """Return the bridge of a network."""
        return self._bridge(network)

    def wire(self, network: str, machine: str) -> TapWiring:
        """Return the tap that libvirt makes for this card."""
        return TapWiring(self._tap(network, machine))

    def plug(self, network: str, machine: str) -> None:
        """Move the tap of a started machine into the namespace and onto the bridge."""
        tap = self._tap(network, machine)
        if (_DEVICES / tap).exists():
            run_ip("link", "set", tap, "netns", self.namespace)
        run_ip("-n", self.namespace, "link", "set", tap, "master", self._bridge(network), "up")

    def remove_all(self) -> None:
        """Delete the namespace; its bridges go with it, the taps went with their machines."""
        if self._exists:
            for link in self._links():
                if link.startswith("br"):
                    run_ip("-n", self.namespace, "link", "delete", link)
            run_ip("netns", "delete", self.namespace)

    def leftovers(self) -> list[str]:
        """Return the namespace if it exists."""
        return [f"network namespace {self.namespace}"] if self._exists else []

    @property
    def _exists(self) -> bool:
        return (_NAMESPACES / self.namespace).exists()

    def _bridge(self, network: str) -> str:
        return device_name("br", self.tag, network)

    def _tap(self, network: str, machine: str) -> str:
        return device_name("lt", self.tag, network, machine)

    def _links(self) -> set[str]:
        return {link["ifname"] for link in json.loads(run_ip("-n", self.namespace, "-j", "link", "show") or "[]")}
