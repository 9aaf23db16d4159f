"""Bridges in a namespace: taps really carry frames, and the host sees none of it."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from lab.networks import bridge
from lab.networks.bridge import BridgeSwitches, run_ip
from lab.networks.protocol import NetworkError

Pair = tuple[BridgeSwitches, BridgeSwitches]


def links(switches: BridgeSwitches) -> dict[str, dict[str, object]]:
    return {link["ifname"]: link for link in json.loads(run_ip("-n", switches.namespace, "-j", "link", "show"))}


@pytest.fixture
def taps(bridges: Pair) -> Iterator[dict[str, str]]:
    """Persistent taps on the host, as QEMU would have made them."""
    made = {machine: bridges[0].wire("primary", machine).device for machine in ("m1", "m2")}
    for tap in made.values():
        run_ip("tuntap", "add", "dev", tap, "mode", "tap")
    yield made
    for tap in made.values():
        subprocess.run(["ip", "link", "delete", tap], check=False, capture_output=True)


def test_a_plugged_tap_leaves_the_host_and_joins_its_bridge(bridges: Pair, taps: dict[str, str]) -> None:
    switches, _ = bridges
    switches.ensure("primary")
    switches.ensure("wan")
    for _ in range(2):
        switches.plug("primary", "m1")
    tap = links(switches)[taps["m1"]]
    names = {str(link.get("ifalias")): name for name, link in links(switches).items()}
    assert tap["master"] == names["primary"] != names["wan"]
    host = {link["ifname"] for link in json.loads(run_ip("-j", "link", "show"))}
    assert taps["m1"] not in host
    assert taps["m2"] in host


def test_the_host_has_no_address_on_a_switch(bridges: Pair) -> None:
    switches, _ = bridges
    switches.ensure("primary")
    found = json.loads(run_ip("-n", switches.namespace, "-j", "-4", "address", "show"))
    assert {link["ifname"] for link in found} <= {"lo"}


def test_plugging_a_machine_that_was_never_started_is_an_error(bridges: Pair) -> None:
    switches, _ = bridges
    switches.ensure("primary")
    with pytest.raises(NetworkError, match="failed"):
        switches.plug("primary", "nobody")


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NetworkError, match="apt-get install iproute2"):
        run_ip("link")


def test_a_tool_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired(["ip"], bridge.COMMAND_SECONDS)

    monkeypatch.setattr(bridge.subprocess, "run", hang)
    with pytest.raises(NetworkError, match="did not end within 20 s"):
        run_ip("link")
