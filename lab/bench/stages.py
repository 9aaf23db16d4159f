"""What no tool can beat: every stage of a first copy, measured alone on the machines that it goes through.

read: every byte, past the page cache. compress: what is not zero, as the stack does it (zstd 1). encrypt, network: what
is left of that, by the fastest cipher of TLS 1.3 and over plain TCP. write: what is not zero, past the page cache.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.bench import pieces
from lab.bench.mirror import Mirror
from lab.errors import LabError
from lab.machines.ssh import SshTransport
from lab.measure.throughput import device_write_rate, network_rate, read_rate
from lab.replication.common.processor import IN_TRANSLATION

TOOL = "/run/lab-bench-pieces.py"
SECONDS = 300.0
BUFFER_BYTES = 16384
"""A record of TLS."""
CIPHERS = ("chacha20-poly1305", "aes-128-gcm", "aes-256-gcm")


@dataclass(frozen=True)
class Compressed:
    """What the pieces of a device say of the whole: shares of its bytes, and the rate in bytes a second."""

    nonzero: float
    compressed: float
    rate: float


@dataclass(frozen=True)
class Rates:
    """Bytes a second."""

    read: float
    encrypt: float
    network: float
    write: float


def measured(mirror: Mirror, size: int) -> Mapping[str, float]:
    """Return the seconds of each stage for the content of a mirror's disk. Raises LabError."""
    source, target = mirror.source.ssh, mirror.target.ssh
    content = parse_compressed(source.check("python3", "-B", TOOL, "compress", mirror.disk, seconds=SECONDS))
    rates = Rates(
        read=read_rate(source, mirror.disk),
        encrypt=fastest_cipher(source),
        network=network_rate(target, source, mirror.target.address),
        write=device_write_rate(target, mirror.disk),
    )
    return seconds_of(size, content, rates)


def seconds_of(size: int, content: Compressed, rates: Rates) -> Mapping[str, float]:
    """Return the seconds of each stage. Pure."""
    nonzero, compressed = size * content.nonzero, size * content.compressed
    return {
        "read": size / rates.read,
        "compress": nonzero / content.rate,
        "encrypt": compressed / rates.encrypt,
        "network": compressed / rates.network,
        "write": nonzero / rates.write,
    }


def parse_compressed(text: str) -> Compressed:
    """Read what the tool in the machine says. Raises LabError when there was nothing to compress."""
    found = json.loads(text)
    if not found["nonzero"]:
        raise LabError("nothing but zeros on the disk that is to be copied")
    read = found["read"]
    return Compressed(found["nonzero"] / read, found["compressed"] / read, found["nonzero"] / found["seconds"])


def fastest_cipher(ssh: SshTransport) -> float:
    """Return the bytes a second that OpenSSL encrypts, by its fastest cipher and way. Raises LabError."""
    ways = [(), (f"OPENSSL_ia32cap={IN_TRANSLATION.capabilities}",)]
    speed = ("openssl", "speed", "-mr", "-seconds", "2", "-bytes", str(BUFFER_BYTES), "-evp")
    said = [ssh.check("env", *way, *speed, cipher, seconds=SECONDS) for way in ways for cipher in CIPHERS]
    return max(parse_speed(text) for text in said)


def parse_speed(text: str) -> float:
    """Read OpenSSL's line for machines, "+F:25:ChaCha20-Poly1305:3691655646.75". Raises LabError."""
    rates = [float(line.rpartition(":")[2]) for line in text.splitlines() if line.startswith("+F:")]
    if not rates:
        raise LabError(f"openssl speed said {text[-300:]!r}")
    return rates[-1]


def send_tool(machines: Iterable[SshTransport]) -> None:
    """Copy the tool to machines."""
    for ssh in machines:
        ssh.put(Path(pieces.__file__).read_bytes(), TOOL)


def spoil(mirror: Mirror) -> None:
    """See to it that a copy of which nothing arrives is found."""
    mirror.target.ssh.check("python3", "-B", TOOL, "spoil", mirror.disk, seconds=SECONDS)


def compare(mirror: Mirror, peer: str) -> None:
    """Compare pieces of both disks. Raises LabError when they differ."""
    digests = {end.ssh.check("python3", "-B", TOOL, "digest", mirror.disk, seconds=SECONDS) for end in mirror.ends}
    if len(digests) != 1:
        raise LabError(f"what {peer} has written is not what there was to copy")
