"""Machines with one memory get different seeds, which no list of processes shows."""

import os
import subprocess
from dataclasses import dataclass, field

from lab.machines.randomness import SEED_BYTES, seed_randomness


@dataclass
class Ssh:
    calls: list[tuple[tuple[str, ...], str]] = field(default_factory=list)

    def check(self, *argv: str, stdin: str) -> str:
        self.calls.append((argv, stdin))
        return "seeded\n"


def test_each_seed_is_another_one_and_goes_over_standard_input() -> None:
    ssh = Ssh()
    for _ in range(2):
        seed_randomness(ssh)  # type: ignore[arg-type]
    seeds = [stdin.strip() for _, stdin in ssh.calls]
    assert [len(bytes.fromhex(seed)) for seed in seeds] == [SEED_BYTES, SEED_BYTES]
    assert len(set(seeds)) == 2
    assert not any(seed in word for seed in seeds for argv, _ in ssh.calls for word in argv)


def test_what_runs_on_the_machine_writes_before_it_has_the_kernel_reseed() -> None:
    ssh = Ssh()
    seed_randomness(ssh)  # type: ignore[arg-type]
    argv, stdin = ssh.calls[0]
    subprocess.run([argv[0], "-c", *argv[1:]], check=True, timeout=20, capture_output=True)
    assert argv[-1].index("syswrite") < argv[-1].index("0x5207")
    # As root it is run for real, on this host's own generator, which only gains by it.
    if os.geteuid() == 0:
        done = subprocess.run(argv, input=stdin, check=True, capture_output=True, text=True, timeout=20)
        assert done.stdout == "seeded\n"
