"""Encrypted bodies over plain HTTP: multipart/encrypted as WinRM makes it (MS-WSMV 2.2.9.1)."""

from __future__ import annotations

import re
import struct

import spnego

KIND = "application/HTTP-SPNEGO-session-encrypted"
CONTENT_TYPE = f'multipart/encrypted;protocol="{KIND}";boundary="Encrypted Boundary"'
_HEAD = re.compile(
    rb"--\s*Encrypted Boundary\r\n\s*Content-Type: "
    + re.escape(KIND.encode())
    + rb"\r\n\s*OriginalContent: type=application/soap\+xml;charset=UTF-8;Length=(\d{1,8})\r\n"
    rb"--\s*Encrypted Boundary\r\n\s*Content-Type: application/octet-stream\r\n"
)
_TAIL = b"--Encrypted Boundary--"


def opened(context: spnego.ContextProxy, body: bytes) -> bytes:
    """Return what is in an encrypted body. Raises ValueError, spnego.exceptions.SpnegoError."""
    head = _HEAD.match(body)
    end = body.rfind(_TAIL)
    if head is None or end < head.end() + 4:
        raise ValueError("no encrypted body")
    sealed = body[head.end() : end]
    (length,) = struct.unpack("<i", sealed[:4])
    if not 0 < length <= len(sealed) - 4:
        raise ValueError("a signature of impossible length")
    found = context.unwrap_winrm(sealed[4 : 4 + length], sealed[4 + length :])
    if len(found) != int(head[1]):
        raise ValueError("another length than was said")
    return found


def sealed(context: spnego.ContextProxy, body: bytes) -> bytes:
    """Return an encrypted body."""
    wrapped = context.wrap_winrm(body)
    length = len(body) + wrapped.padding_length
    return b"".join(
        (
            b"--Encrypted Boundary\r\n\tContent-Type: ",
            KIND.encode(),
            b"\r\n\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=",
            str(length).encode(),
            b"\r\n--Encrypted Boundary\r\n\tContent-Type: application/octet-stream\r\n",
            struct.pack("<i", len(wrapped.header)),
            wrapped.header,
            wrapped.data,
            _TAIL,
            b"\r\n",
        )
    )
