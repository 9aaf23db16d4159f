"""How a host over TLS proves who it is."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Trust:
    """How the host proves who it is; there is no way to leave that out.

    ``certificate`` (PEM) is a CA, or with ``pinned`` the host's own certificate, whatever name it carries.
    """

    certificate: Path
    pinned: bool = False

    def context(self) -> ssl.SSLContext:
        """Return a context that verifies. Raises OSError, ssl.SSLError for a file that holds no certificate."""
        context = ssl.create_default_context(cafile=self.certificate)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.pinned:
            context.check_hostname = False
            # The pinned certificate is trusted by itself, also when another one has signed it.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context
