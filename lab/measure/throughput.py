"""Speeds of the bare path and of bare disks, to set beside what a stack reaches on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.machines.ssh import SshTransport

SECONDS = 5
BASELINE_MIB = 128
LIMIT_SECONDS = 120.0


@dataclass(frozen=True)
class Stage:
    """One document on its way through the process server; times in nanoseconds, sizes in bytes."""

    stream: str
    received_ns: int
    sent_ns: int
    raw_bytes: int
    wire_bytes: int


def network_rate(server: SshTransport, client: SshTransport, address: str) -> float:
    """Return the goodput from client to server in bytes a second, by iperf3. Raises CommandFailed."""
    server.check("iperf3", "--server", "--one-off", "--daemon")
    report = client.check("iperf3", "--client", address, "--time", str(SECONDS), "--json", seconds=LIMIT_SECONDS)
    return float(json.loads(report)["end"]["sum_received"]["bits_per_second"]) / 8


def read_rate(ssh: SshTransport, device: str) -> float:
    """Return how fast a device is read past the page cache, in bytes a second."""
    return _rate(ssh, f"if={device}", "of=/dev/null", "iflag=direct")


def write_rate(ssh: SshTransport, folder: str) -> float:
    """Return how fast a file in ``folder`` is written past the page cache, in bytes a second; the file is removed."""
    path = f"{folder}/lab-baseline"
    try:
        return _rate(ssh, "if=/dev/zero", f"of={path}", "oflag=direct", "conv=fsync")
    finally:
        ssh.check("rm", "-f", path)


def device_write_rate(ssh: SshTransport, device: str) -> float:
    """Return how fast a device is written past the page cache, in bytes a second; what was on it is gone."""
    return _rate(ssh, "if=/dev/zero", f"of={device}", "oflag=direct", "conv=fsync")


def parse_stages(log: str) -> list[Stage]:
    """Read the process server's log of documents."""
    values: list[dict[str, Any]] = [json.loads(line) for line in log.splitlines()]
    return [Stage(**{key: value[key] for key in Stage.__dataclass_fields__}) for value in values]


def reduction(stages: Sequence[Stage]) -> float:
    """Return changed bytes over bytes sent on. Raises ZeroDivisionError when nothing was sent."""
    return sum(stage.raw_bytes for stage in stages) / sum(stage.wire_bytes for stage in stages)


def _rate(ssh: SshTransport, *arguments: str) -> float:
    """Run dd and return its rate; dd counts in bytes and seconds of its own."""
    command = ("env", "LC_ALL=C", "dd", "bs=1M", f"count={BASELINE_MIB}", *arguments)
    done = ssh.run(*command, seconds=LIMIT_SECONDS)
    return parse_dd(done.stderr)


def parse_dd(words: str) -> float:
    """Return bytes a second from dd's last line, "134217728 bytes (134 MB, 128 MiB) copied, 0.5 s, 268 MB/s"."""
    line = next(line for line in reversed(words.splitlines()) if " copied, " in line)
    copied, _, rest = line.partition(" bytes ")
    seconds = rest.split(" copied, ")[1].split(" s,")[0]
    return int(copied) / float(seconds)
