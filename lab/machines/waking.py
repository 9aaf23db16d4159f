"""A machine that goes on from saved memory: random numbers of its own and the present time, by one program.

Each program that a machine starts is a part of a second when a whole lab goes on at once, and so is each login; so one
program does all, asked line by line. Its answers carry the machine's time, which makes every question a reading of
the clock.

A device that tells the guest to seed itself (``vmgenid``) would do without, but Debian's cloud kernel has no driver
for it (decision 0022).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from typing import BinaryIO

import paramiko

from lab.machines.clock import NANO, ClockReading, best_reading, moved
from lab.machines.ssh import COMMAND_SECONDS, CommandFailed, ConnectionLost, SshTransport

SEED_BYTES = 64
# Perl, because every Debian has it and it starts in a quarter of Python's time. 228 and 227 are clock_gettime and
# clock_settime of x86-64, which all machines are; 0x5207 is RNDRESEEDCRNG of linux/random.h: what was written before
# counts from now on, and not in a minute.
PROGRAM = r"""
use integer;
$| = 1;
sub now {
    my $time = pack('qq', 0, 0);
    syscall(228, 0, $time) == 0 or die "time: $!\n";
    my ($seconds, $rest) = unpack('qq', $time);
    return $seconds * 1000000000 + $rest;
}
print now(), "\n";
while (<STDIN>) {
    my ($order, $value) = split;
    if ($order eq 'seed') {
        open(my $pool, '+<:raw', '/dev/urandom') or die "seed: $!\n";
        defined(syswrite($pool, pack('H*', $value))) or die "seed: $!\n";
        ioctl($pool, 0x5207, 0) or die "seed: $!\n";
    } elsif ($order eq 'move') {
        my $time = now() + $value;
        my $packed = pack('qq', $time / 1000000000, $time % 1000000000);
        syscall(227, 0, $packed) == 0 or die "clock: $!\n";
    }
    print now(), "\n";
}
"""


@dataclass(frozen=True)
class Dialogue:
    """The program on a machine; one question at a time."""

    machine: str
    channel: paramiko.Channel
    answers: BinaryIO

    def ask(self, line: str) -> ClockReading:
        """Say a line, and read the clock by its answer. Raises CommandFailed with the machine's words, OSError."""
        begin = time.time_ns()
        self.channel.sendall(f"{line}\n".encode())
        return self.hear(begin)

    def hear(self, begin: int) -> ClockReading:
        """Read the clock by the next answer to what was said at ``begin``. Raises as ``ask`` does."""
        words = self.answers.readline()
        if not words.strip().isdigit():
            rest = (words + self.answers.read()).decode(errors="replace").strip()
            raise CommandFailed(f"{self.machine}: the program that wakes it said {rest[-400:]!r}")
        return ClockReading.between(begin, int(words), time.time_ns())


def wake(ssh: SshTransport) -> float:
    """Seed a machine's random generator, set its clock, and return by how many seconds that was moved.

    The seed goes over standard input: nobody on the machine sees it in a list of processes.

    Raises:
        LabError: the machine has no Perl, its kernel refused, or its clock is wrong afterwards.
        ConnectionLost: it stopped answering.
    """
    questions = chain([f"seed {secrets.token_hex(SEED_BYTES)}"], repeat("read"))
    try:
        with _dialogue(ssh) as dialogue:
            first = best_reading(lambda: dialogue.ask(next(questions)))
            return moved(ssh.machine, first, lambda behind: dialogue.ask(f"move {round(behind * NANO)}"))
    except (EOFError, OSError, paramiko.SSHException) as error:
        ssh.close()
        raise ConnectionLost(f"{ssh.machine}: the connection died while it was woken: {error}") from error


@contextmanager
def _dialogue(ssh: SshTransport) -> Iterator[Dialogue]:
    with ssh.stream("perl", "-e", PROGRAM) as channel:
        channel.settimeout(COMMAND_SECONDS)
        dialogue = Dialogue(ssh.machine, channel, channel.makefile("rb"))
        # How long it takes to start is no part of the way there and back.
        dialogue.hear(time.time_ns())
        yield dialogue
