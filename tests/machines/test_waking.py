"""One program seeds a machine and sets its clock; its words are the real ones, run by this host's Perl."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

import paramiko
import pytest
from sshd_server import Server

from lab.errors import LabError
from lab.machines.clock import NANO
from lab.machines.ssh import CommandFailed, ConnectionLost
from lab.machines.waking import PROGRAM, SEED_BYTES, wake

NOBODY = 65534
SET = "syscall(227, 0, $packed)"


@dataclass
class Channel:
    """A program on this host, as the channel to one over SSH."""

    process: subprocess.Popen[bytes]
    heard: list[str]

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def sendall(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.heard.append(data.decode())
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def makefile(self, mode: str) -> IO[bytes]:
        assert mode == "rb"
        assert self.process.stdout is not None
        return self.process.stdout


@dataclass
class Ssh:
    """A machine whose program is changed so that it cannot reach this host's clock."""

    change: Callable[[str], str]
    machine: str = "m1"
    heard: list[str] = field(default_factory=list)
    argv: Sequence[str] = ()

    @contextmanager
    def stream(self, *argv: str) -> Iterator[Channel]:
        self.argv = argv
        command = [*argv[:-1], self.change(argv[-1])]
        user = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **user
        ) as process:
            try:
                yield Channel(process, self.heard)
            finally:
                process.kill()


def harmless(behind: float, *, obeys: bool = True) -> Callable[[str], str]:
    """Return the program with a clock of its own, that much behind, and a generator that is a file."""
    shift = -int(behind * NANO)

    def changed(program: str) -> str:
        assert program.count(SET) == 1
        assert program.count("ioctl($pool, 0x5207, 0)") == 1
        moving = f"(($shift += {int(obeys)} * $value) && 0)"
        return f"my $shift = {shift};" + program.replace(SET, moving).replace(
            "return $seconds * 1000000000 + $rest", "return $seconds * 1000000000 + $rest + $shift"
        ).replace("/dev/urandom", "/dev/null").replace("ioctl($pool, 0x5207, 0)", "1")

    return changed


@pytest.mark.parametrize("behind", [3600.0, -3600.0, 400 * 24 * 3600.0])
def test_a_machine_is_seeded_and_its_clock_moved_by_what_is_missing(behind: float) -> None:
    ssh = Ssh(harmless(behind))
    assert wake(ssh) == pytest.approx(behind, abs=0.3)  # type: ignore[arg-type]
    orders = [line.split()[0] for line in ssh.heard]
    assert (orders[0], orders[-1]) == ("seed", "move")
    assert float(ssh.heard[-1].split()[1]) == pytest.approx(behind * NANO, abs=0.3 * NANO)


def test_each_seed_is_another_one_and_in_no_list_of_processes() -> None:
    seeds = []
    for _ in range(2):
        ssh = Ssh(harmless(0.0))
        wake(ssh)  # type: ignore[arg-type]
        seeds.append(ssh.heard[0].split()[1])
        assert not any(seeds[-1] in word for word in ssh.argv)
    assert [len(bytes.fromhex(seed)) for seed in seeds] == [SEED_BYTES, SEED_BYTES]
    assert len(set(seeds)) == 2


def test_a_clock_that_does_not_obey_is_an_error() -> None:
    with pytest.raises(LabError, match=r"clock of m1 was set and is still 60\.. s behind"):
        wake(Ssh(harmless(60.0, obeys=False)))  # type: ignore[arg-type]


def test_what_the_kernel_refuses_is_an_error_with_the_machines_words() -> None:
    """Nobody may not have the kernel seed itself anew, nor set its clock."""
    with pytest.raises(CommandFailed, match="seed: Operation not permitted"):
        wake(Ssh(lambda program: program))  # type: ignore[arg-type]


def test_a_machine_that_stops_answering_is_a_lost_connection() -> None:
    ssh = Ssh(harmless(0.0))
    closed: list[str] = []
    ssh.close = lambda: closed.append("closed")  # type: ignore[attr-defined]

    @contextmanager
    def refused(*argv: str) -> Iterator[Channel]:
        raise paramiko.SSHException("no session")
        yield

    ssh.stream = refused  # type: ignore[method-assign]
    with pytest.raises(ConnectionLost, match="m1: the connection died while it was woken: no session"):
        wake(ssh)  # type: ignore[arg-type]
    assert closed[-1] == "closed"


def test_what_is_written_as_the_time_is_what_was_asked_for() -> None:
    shown = PROGRAM.replace(f'{SET} == 0 or die "clock: $!\\n"', "print join(' ', unpack('qq', $packed)), qq(\\n)")
    assert shown != PROGRAM
    begin = time.time_ns()
    done = subprocess.run(
        ["perl", "-e", shown], input="move -3600250000000\n", check=True, capture_output=True, text=True, timeout=20
    )
    seconds, rest = map(int, done.stdout.splitlines()[1].split())
    assert 0 <= rest < NANO
    assert begin <= seconds * NANO + rest + 3600250000000 <= time.time_ns()


def test_over_a_real_server_a_clock_that_is_right_stays(server: Server) -> None:
    transport = server.transport()
    try:
        if os.geteuid() == 0:
            assert abs(wake(transport)) < 1
        else:
            with pytest.raises(CommandFailed, match="not permitted"):
                wake(transport)
    finally:
        transport.close()
