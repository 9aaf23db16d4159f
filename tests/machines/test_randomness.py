"""Machines with one memory get different seeds, which no list of processes shows."""

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
    program = ssh.calls[0][0][-1]
    compile(program, "seed", "exec")
    assert program.index("pool.write") < program.index("0x5207")
