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
