"""What OpenSSL should use on this processor.

Python 3.11 cannot choose TLS 1.3 ciphers, so this is a configuration file. On a processor that QEMU translates, an
instruction for vectors or AES costs a call into QEMU: ChaCha20-Poly1305 in plain integers encrypts four times what
AES-128-GCM does there (decision 0004). On real processors it is the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
TRANSLATED = "TCG CPU"
OPENSSL_CNF = """openssl_conf = settings
[settings]
ssl_conf = ssl
[ssl]
system_default = defaults
[defaults]
MinProtocol = TLSv1.3
Ciphersuites = {suites}
"""
AES, CHACHA, STRONGER_AES = "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"


@dataclass(frozen=True)
class TlsChoice:
    """Cipher suites, best first, and what OpenSSL should not use of the processor (``OPENSSL_ia32cap``, or "")."""

    suites: tuple[str, ...]
    capabilities: str

    @property
    def configuration(self) -> str:
        """Return the content of ``openssl.cnf``."""
        return OPENSSL_CNF.format(suites=":".join(self.suites))

    def environment(self, configuration: Path) -> dict[str, str]:
        """Return the variables of a process whose OpenSSL should follow this choice, written to ``configuration``."""
        chosen = {"OPENSSL_CONF": str(configuration)}
        return {**chosen, "OPENSSL_ia32cap": self.capabilities} if self.capabilities else chosen


ON_A_PROCESSOR = TlsChoice((AES, STRONGER_AES, CHACHA), "")
# Bits of CPUID: 41 SSSE3 and 60 AVX of leaf 1, 5 AVX2 of leaf 7 (OpenSSL's manual page OPENSSL_ia32cap).
IN_TRANSLATION = TlsChoice((CHACHA, AES, STRONGER_AES), "~0x1000020000000000:~0x20")


def tls_choice(cpu_info: str) -> TlsChoice:
    """Return the choice for a machine whose ``/proc/cpuinfo`` this is."""
    return IN_TRANSLATION if TRANSLATED in cpu_info else ON_A_PROCESSOR
