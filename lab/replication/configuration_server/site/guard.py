"""What a browser must not be made to do: a form of another site is refused, and pages run nothing.

Browsers send a client certificate to whoever made them call, so a form proves that it is ours by a token that other
sites cannot read.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from types import MappingProxyType

from aiohttp import web

from lab.replication.common.tls import Peer
from lab.replication.configuration_server.errors import ControlError, Forbidden

FIELD = "csrf"
OWN = ("same-origin", "none")
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
)


class NotHtml(ControlError):
    """The caller does not take pages; the same facts are in the API."""

    status = 406
    kind = "not-acceptable"


class Guard:
    """Makes and checks the tokens of one run of the server."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def token(self, peer: Peer) -> str:
        """Return the token for the forms of an operator."""
        return hmac.new(self._secret, f"{peer.kind}:{peer.name}".encode(), hashlib.sha256).hexdigest()

    def check(self, request: web.Request, peer: Peer, token: str) -> None:
        """Accept a form that a page of this server sent. Raises Forbidden."""
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"https://{request.host}":
            raise Forbidden(f"a form of {origin} is not accepted")
        if request.headers.get("Sec-Fetch-Site", "none") not in OWN:
            raise Forbidden("a form of another site is not accepted")
        if not hmac.compare_digest(token.encode(), self.token(peer).encode()):
            raise Forbidden("the form is not of this run of the server: load the page again")


def require_html(request: web.Request) -> None:
    """Accept only who takes HTML. Raises NotHtml."""
    accepted = request.headers.get("Accept", "")
    if "text/html" not in accepted and "*/*" not in accepted:
        raise NotHtml("this is a web site, ask with 'Accept: text/html'; GET /v1/overview has the same as JSON")
