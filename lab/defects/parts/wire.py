"""Defects of what all connections have in common: certificates, encryption, where a port listens."""

from __future__ import annotations

from functools import partial

from lab.defects.model import Defect, Part, seeded

_TLS, _DATA, _LINK = "common.tls", "common.dataserver", "common.link"
_WRAP = "            self.request = self.server.context.wrap_socket(self.request, server_side=True)\n"
_PEER = "            return peer_of(self.request.getpeercert() or {})\n"
_CONNECTION = """        connection = http.client.HTTPSConnection(
            self._endpoint.address, self._endpoint.port, context=self._context, timeout=self._timeout
        )
"""


_defect = partial(seeded, Part.WIRE)


WIRE: tuple[Defect, ...] = (
    _defect(
        "client-certificate-optional",
        "a data port talks to clients without a certificate",
        ("LAB-MUTUAL-TLS",),
        (_TLS, "ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL", "ssl.CERT_OPTIONAL"),
    ),
    _defect(
        "server-certificate-not-checked",
        "clients talk to any server",
        ("LAB-MUTUAL-TLS", "V2A-PS-ENCRYPT", "H2S-PROV-TLS"),
        (
            _TLS,
            "    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n",
            """    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
""",
        ),
    ),
    _defect(
        "old-tls-accepted",
        "servers talk TLS 1.2",
        ("LAB-MUTUAL-TLS", "V2A-PS-ENCRYPT"),
        (
            _TLS,
            "    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n    context.minimum_version = ssl.TLSVersion.TLSv1_3\n",
            "    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n",
        ),
    ),
    _defect(
        "port-on-one-interface",
        "the data port listens on one address of the machine only",
        ("V2A-PORT-9443",),
        (_DATA, "super().__init__(place, _Connection)", 'super().__init__(("127.0.0.1", place[1]), _Connection)'),
    ),
    _defect(
        "plain-text-accepted",
        "a data port also serves clients that speak no TLS",
        ("LAB-MUTUAL-TLS", "V2A-PS-ENCRYPT"),
        (_DATA, _WRAP, f"            if self.request.recv(1, socket.MSG_PEEK) == b'\\x16':\n    {_WRAP}"),
        (
            _DATA,
            _PEER,
            """            secure = hasattr(self.request, "getpeercert")
            return peer_of(self.request.getpeercert() or {}) if secure else Peer("mobility", "app1")
""",
        ),
    ),
    _defect(
        "nothing-is-encrypted",
        "both sides talk plain HTTP: a canary is readable on the wire",
        ("V2A-PS-ENCRYPT", "LAB-MUTUAL-TLS"),
        (_DATA, _WRAP, "            pass\n"),
        (_DATA, _PEER, '            return Peer("plain", "plain")\n'),
        (_DATA, "        if self.peer.kind not in kinds or", "        if self.peer.kind not in (*kinds, 'plain') or"),
        (
            _DATA,
            "(name is not None and self.peer.name != name)",
            "(name is not None and self.peer.name not in (name, 'plain'))",
        ),
        (
            _LINK,
            _CONNECTION,
            """        connection: Any = http.client.HTTPConnection(
            self._endpoint.address, self._endpoint.port, timeout=self._timeout
        )
""",
        ),
    ),
    _defect(
        "certificates-without-names",
        "a certificate that names no component of the stack is taken for an agent's",
        ("LAB-MUTUAL-TLS",),
        (
            _TLS,
            '        raise UnknownPeer(f"expected one {URI_PREFIX} name in the certificate, found {len(ours)}")\n',
            '        return Peer("mobility", "app1")\n',
        ),
    ),
)
