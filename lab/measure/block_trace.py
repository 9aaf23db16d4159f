"""The kernel's own record of a machine's requests to its disks: nothing of the stack under test takes part.

A trace instance of its own (Documentation/trace/ftrace.rst), so that nobody else's tracing is disturbed. The text is
for ``lab.oracle.device.trace``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lab.machines.ssh import SshTransport

BUFFER_KIB = 8192
"""About 80,000 requests; when it was too small the text says so, and the reader refuses it."""
TEXT_SECONDS = 300.0
_BEGIN = """set -e
t=/sys/kernel/tracing; i=$t/instances/recovery-lab
[ -d $t/instances ] || mount -t tracefs nodev $t
[ ! -d $i ] || rmdir $i
mkdir $i
echo mono >$i/trace_clock
echo "$1" >$i/buffer_size_kb
for event in block_rq_issue block_rq_complete; do
  echo "$2" >$i/events/block/$event/filter
  echo 1 >$i/events/block/$event/enable
done
echo 1 >$i/tracing_on
"""
_TEXT = "i=/sys/kernel/tracing/instances/recovery-lab; echo 0 >$i/tracing_on && cat $i/trace"
_END = "i=/sys/kernel/tracing/instances/recovery-lab; [ ! -d $i ] || { echo 0 >$i/events/enable; rmdir $i; }"
_CLOCKS = "import time; print(time.monotonic_ns(), time.time_ns())"
_MINOR_BITS = 20


@dataclass(frozen=True)
class Clocks:
    """One moment by two clocks of a machine, in ns: CLOCK_MONOTONIC, which traces use, and the wall clock."""

    monotonic_ns: int
    wall_ns: int

    def monotonic_of(self, wall_ns: int) -> int:
        """Return a moment of the wall clock by the other one, as long as nobody sets the wall clock."""
        return wall_ns - self.wall_ns + self.monotonic_ns


@dataclass(frozen=True)
class BlockTrace:
    """A trace that is running."""

    ssh: SshTransport

    def end(self) -> list[str]:
        """Stop, and return the lines. Raises CommandFailed."""
        return self.ssh.shell(_TEXT, seconds=TEXT_SECONDS).stdout.splitlines()


def clocks(ssh: SshTransport) -> Clocks:
    """Return what a machine's clocks say now. Raises CommandFailed."""
    monotonic, wall = ssh.check("python3", "-B", "-c", _CLOCKS).split()
    return Clocks(int(monotonic), int(wall))


def device_number(ssh: SshTransport, device: str) -> str:
    """Return "major,minor" of a disk, as traces name it. Raises CommandFailed."""
    name = device.removeprefix("/dev/")
    return ssh.check("cat", f"/sys/block/{name}/dev").strip().replace(":", ",")


@contextmanager
def traced(ssh: SshTransport, numbers: Sequence[str]) -> Iterator[BlockTrace]:
    """Record the requests to disks ("major,minor") inside the block. Raises CommandFailed."""
    wanted = " || ".join(f"dev == {_kernel_number(number)}" for number in numbers)
    ssh.check("sh", "-c", _BEGIN, "sh", str(BUFFER_KIB), wanted)
    try:
        yield BlockTrace(ssh)
    finally:
        ssh.shell(_END)


def _kernel_number(number: str) -> int:
    major, minor = (int(word) for word in number.split(","))
    return major << _MINOR_BITS | minor
