"""How machines run where QEMU translates their instructions because there is no KVM.

Left out of the processor is what costs more than it gives there (decision 0018): ``rep movsb`` is one round for each
byte, with which a kernel that sees ``erms`` copies everything; a vector of 256 bits is a call into QEMU; ``xsave``
makes every switch between processes longer, a fifth level of page tables every miss,
and ``smap`` a second set of entries.
"""

TRANSLATION_CACHE_MIB = 256
"""Without a bound QEMU keeps up to a GiB of translated code for each machine."""
LEFT_OUT = ("erms", "avx", "avx2", "f16c", "fma", "xsave", "la57", "smap", "smep")
PROCESSOR = ",".join(["max", *(f"{feature}=off" for feature in LEFT_OUT)])
"""QEMU's ``-cpu``."""


def possible_processors(processors: int) -> int:
    """Return how many processors a machine has room for, of which ``processors`` are there.

    For a machine that can only ever have one QEMU 7.2 translates ``lock`` without a barrier, although its devices
    work in threads of their own: a notification of virtio was lost, and with it all that a disk was asked afterwards.
    """
    return max(processors, 2)


def processors(present: int, *, translated: bool) -> str:
    """Return QEMU's ``-smp``."""
    return f"{present},maxcpus={possible_processors(present)}" if translated else str(present)
