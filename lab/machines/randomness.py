"""A machine's random generator, which a saved machine shares with all that go on from it, until it is seeded anew.

A device that tells the guest (``vmgenid``) would do without a login, but Debian's cloud kernel has no driver for it
(decision 0022).
"""

from __future__ import annotations

import secrets

from lab.machines.ssh import SshTransport

SEED_BYTES = 64
# RNDRESEEDCRNG of linux/random.h: what was written before counts from now on, and not in a minute. Perl, because every
# Debian has it and it starts in a quarter of Python's time: machines of a lab that goes on do this all at once.
_SEED = (
    "open(my $pool, '+<:raw', '/dev/urandom') or die $!;"
    "defined(syswrite($pool, pack('H*', <STDIN> =~ s/\\s//gr))) or die $!;"
    "ioctl($pool, 0x5207, 0) or die $!;"
    "print qq(seeded\\n);"
)


def seed_randomness(ssh: SshTransport) -> None:
    """Mix this host's random bytes into a machine's generator, and have its kernel use them at once.

    They go over standard input: nobody on the machine sees them in a list of processes.

    Raises:
        CommandFailed: the machine has no Perl, or its kernel refused.
    """
    ssh.check("perl", "-e", _SEED, stdin=f"{secrets.token_hex(SEED_BYTES)}\n")
