"""How a protocol object of pywinrm is made: HTTPS, verified, without proxies from the environment."""

from __future__ import annotations

import ssl
from typing import Any

from requests.adapters import HTTPAdapter
from winrm.exceptions import WinRMError
from winrm.protocol import Protocol

from lab.hypervisors.hyperv.session import RECEIVE_SECONDS
from lab.hypervisors.hyperv.settings import Target
from lab.hypervisors.protocols import HypervisorError

READ_SECONDS = RECEIVE_SECONDS + 20
SCHEME = "https://"


class _Verified(HTTPAdapter):
    """Connections that verify as the lab's trust says."""

    def __init__(self, context: ssl.SSLContext, *, pinned: bool) -> None:
        self._context, self._pinned = context, pinned
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        """Make the pool with our context."""
        more["ssl_context"] = self._context
        if self._pinned:
            more["assert_hostname"] = False
        super().init_poolmanager(*arguments, **more)


def protocol_to(target: Target) -> Protocol:
    """Return a protocol object.

    Raises:
        OSError, ssl.SSLError: the file holds no certificate.
        HypervisorError: this machine lacks what the kind of login needs.
    """
    context = target.trust.context()
    found = Protocol(
        target.url,
        transport=target.login.value,
        username=target.user,
        password=target.password,
        server_cert_validation="validate",
        ca_trust_path=str(target.trust.certificate),
        message_encryption="auto",
        read_timeout_sec=READ_SECONDS,
        operation_timeout_sec=RECEIVE_SECONDS,
        proxy=None,
    )
    try:
        session = found.transport.build_session()
    except WinRMError as error:
        raise HypervisorError(f"host {target.host}: login by {target.login.value}: {error}") from error
    session.trust_env = False
    session.mount(SCHEME, _Verified(context, pinned=target.trust.pinned))
    return found
