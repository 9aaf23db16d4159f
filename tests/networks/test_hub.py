"""Hubs really pass Ethernet frames between the sockets that QEMU's ``-netdev stream`` speaks to."""

import os
import select
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.networks.hub import HubSwitches
from lab.networks.protocol import NetworkError
from lab.waiting import Deadline, wait_until

pytestmark = pytest.mark.qemu
Pair = tuple[HubSwitches, HubSwitches]


class Card:
    """A network card at a hub's port: 4 bytes of length (big endian), then the frame."""

    def __init__(self, port: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(port))

    def send(self, frame: bytes) -> None:
        self._socket.sendall(struct.pack(">I", len(frame)) + frame)

    def receive(self) -> bytes:
        (length,) = struct.unpack(">I", self._exactly(4))
        return self._exactly(length)

    def has_frame(self, seconds: float = 0) -> bool:
        return bool(select.select([self._socket], [], [], seconds)[0])

    def drain(self) -> list[bytes]:
        frames = []
        while self.has_frame():
            frames.append(self.receive())
        return frames

    def close(self) -> None:
        self._socket.close()

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._socket.recv(count - len(data))
            assert more, "the hub closed the connection"
            data += more
        return data


def frame(payload: bytes) -> bytes:
    return b"\xff" * 6 + b"\x52\x54\x00\x00\x00\x01" + b"\x88\xb5" + payload.ljust(64, b"\0")


def card(switches: HubSwitches, network: str, machine: str) -> Card:
    switches.ensure(network)
    return Card(switches.wire(network, machine).socket)


def pid_of(switches: HubSwitches, network: str) -> int:
    return int((switches.folder / f"{network}.pid").read_text())


def exchange(one: Card, other: Card, payload: bytes) -> None:
    """Send until it arrives: a hub drops what comes before it has accepted the other connection."""

    def arrived() -> bool:
        one.send(frame(payload))
        return other.has_frame(0.3) and frame(payload) in [other.receive(), *other.drain()]

    wait_until(arrived, Deadline.after(15), "frame at the other port", every=0.05)


@pytest.fixture
def cards(hubs: Pair) -> Iterator[dict[str, tuple[Card, Card]]]:
    """Two machines on each network; the second lab has a network of the same name."""
    mine, other = hubs
    networks = {"primary": (mine, "primary"), "wan": (mine, "wan"), "foreign": (other, "primary")}
    pairs = {
        name: (card(switches, network, "m1"), card(switches, network, "m2"))
        for name, (switches, network) in networks.items()
    }
    for name, (one, two) in pairs.items():
        exchange(one, two, b"hello " + name.encode())
        exchange(two, one, b"hello again")
    yield pairs
    for one, two in pairs.values():
        one.close()
        two.close()


def test_a_frame_reaches_the_other_port_of_its_network_and_no_other(cards: dict[str, tuple[Card, Card]]) -> None:
    for pair in cards.values():
        for each in pair:
            each.drain()
    exchange(*cards["primary"], b"only for primary")
    for name in ("wan", "foreign"):
        # What this pair says to itself comes after anything that leaked from the exchange above.
        one, two = cards[name]
        one.send(frame(b"marker"))
        assert two.has_frame(10)
        assert two.receive() == frame(b"marker")
        assert one.drain() == []


def test_a_large_frame_arrives_whole(cards: dict[str, tuple[Card, Card]]) -> None:
    one, two = cards["primary"]
    two.drain()
    payload = bytes(range(256)) * 200
    one.send(frame(payload))
    assert two.has_frame(10)
    received = two.receive()
    while received != frame(payload):
        received = two.receive()


def test_a_port_serves_a_machine_that_comes_back(hubs: Pair) -> None:
    switches, _ = hubs
    one, two = card(switches, "primary", "m1"), card(switches, "primary", "m2")
    exchange(one, two, b"before")
    two.close()
    two = card(switches, "primary", "m2")
    exchange(one, two, b"after")
    one.close()
    two.close()


def test_a_hub_that_died_is_started_again_with_ports_that_work(hubs: Pair) -> None:
    switches, _ = hubs
    switches.ensure("primary")
    switches.ensure("primary-two")
    neighbour = switches.wire("primary-two", "m1").socket
    switches.wire("primary", "m1")
    switches.wire("primary", "m2")
    os.kill(pid_of(switches, "primary"), signal.SIGKILL)
    wait_until(lambda: not switches.runs("primary"), Deadline.after(10), "end of the hub")
    one, two = card(switches, "primary", "m1"), card(switches, "primary", "m2")
    exchange(one, two, b"again")
    assert neighbour.exists()
    one.close()
    two.close()


def test_a_process_that_only_has_the_number_is_left_alone(hubs: Pair) -> None:
    switches, _ = hubs
    switches.ensure("primary")
    switches.ensure("primary-two")
    hub = pid_of(switches, "primary-two")
    for number in (os.getpid(), hub):
        (switches.folder / "reused.pid").write_text(str(number))
        assert not switches.runs("reused")
    pidfile = switches.folder / "primary.pid"
    kept = pidfile.read_text()
    try:
        pidfile.write_text(str(hub))
        assert not switches.runs("primary")
    finally:
        pidfile.write_text(kept)


def test_a_port_of_a_hub_that_does_not_run_is_an_error(hubs: Pair) -> None:
    with pytest.raises(NetworkError, match="does not answer"):
        hubs[0].wire("primary", "m1")


def test_a_missing_qemu_is_an_error_of_the_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NetworkError, match="the hub of primary did not start"):
        HubSwitches("lab", folder).ensure("primary")
