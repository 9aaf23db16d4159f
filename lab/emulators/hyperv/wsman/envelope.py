"""SOAP envelopes in and out. What comes in is foreign: no DTD, no entity, nothing that is not there."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

NAMESPACES = {
    "s": "http://www.w3.org/2003/05/soap-envelope",
    "a": "http://schemas.xmlsoap.org/ws/2004/08/addressing",
    "x": "http://schemas.xmlsoap.org/ws/2004/09/transfer",
    "w": "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd",
    "rsp": "http://schemas.microsoft.com/wbem/wsman/1/windows/shell",
    "p": "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd",
}
SHELL, TRANSFER = NAMESPACES["rsp"], NAMESPACES["x"]
CMD = f"{SHELL}/cmd"
ANONYMOUS = f"{NAMESPACES['a']}/role/anonymous"
FAULT_ACTION = "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault"
FAULT = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
TIMED_OUT, NO_SHELL, TOO_MANY_SHELLS, BAD_REQUEST = 2150858793, 2150858843, 2150859173, 2150858759
"""Codes of WSManFault, as recorded from real hosts by pypsrp's tests (facts/hyperv-and-bmc.md 2)."""
OPERATION_SECONDS = 60.0
LEAST_ENVELOPE, MOST_ENVELOPE = 8192, 512_000
_DURATION = re.compile(r"P(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,6}(?:\.\d{1,6})?)S)?)?")


class Fault(Exception):
    """The request is answered by a SOAP fault."""

    def __init__(
        self,
        code: int,
        message: str,
        subcode: str = "w:InvalidSelectors",
        *,
        receiver: bool = False,
        provider: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.subcode = code, message, subcode
        self.receiver, self.provider = receiver, provider

    def envelope(self, related: str, machine: str) -> bytes:
        """Return the answer."""
        text = escape(self.message)
        detail = text
        if self.provider is not None:
            name, path = map(escape, self.provider)
            detail = f'<f:ProviderFault provider="{name}" path="{path}">{text.strip()}</f:ProviderFault>'
        body = (
            f"<s:Fault><s:Code><s:Value>{'s:Receiver' if self.receiver else 's:Sender'}</s:Value>"
            f"<s:Subcode><s:Value>{self.subcode}</s:Value></s:Subcode></s:Code>"
            f'<s:Reason><s:Text xml:lang="en-US">{text}</s:Text></s:Reason><s:Detail>'
            f'<f:WSManFault xmlns:f="{FAULT}" Code="{self.code}" Machine="{escape(machine)}">'
            f"<f:Message>{detail}</f:Message></f:WSManFault></s:Detail></s:Fault>"
        )
        return envelope(FAULT_ACTION, related, body)


@dataclass(frozen=True)
class Request:
    """What a client asks; ``timeout`` in seconds, ``most`` bytes in the answer."""

    action: str
    message_id: str
    options: dict[str, str]
    shell_id: str | None
    timeout: float
    most: int
    body: Element

    def find(self, path: str) -> Element | None:
        """Return an element of the body."""
        return self.body.find(path, NAMESPACES)

    def require(self, path: str) -> Element:
        """Return an element of the body. Raises Fault when it is missing."""
        found = self.find(path)
        if found is None:
            raise _bad(f"The SOAP body has no element {path}.")
        return found

    def find_all(self, path: str) -> list[Element]:
        """Return elements of the body."""
        return self.body.findall(path, NAMESPACES)


def parse(raw: bytes) -> Request:
    """Read a request. Raises Fault for what is no XML, has a DTD, or asks for no shell."""
    try:
        root: Element = defusedxml.ElementTree.fromstring(raw, forbid_dtd=True)
    except DefusedXmlException as error:
        raise _bad("Document type definitions and entities are not accepted.") from error
    except defusedxml.ElementTree.ParseError as error:
        raise _bad("The SOAP packet did not conform to the schema.") from error
    body = root.find("s:Body", NAMESPACES)
    if body is None:
        raise _bad("The SOAP packet has no body.")
    resource = _text(root, "w:ResourceURI")
    if resource != CMD:
        message = f"The WS-Management service cannot process the request. The resource URI {resource} was not found."
        raise Fault(BAD_REQUEST, message, "a:DestinationUnreachable")
    selectors = {item.get("Name"): item.text for item in root.findall("s:Header/w:SelectorSet/w:Selector", NAMESPACES)}
    options = {
        item.get("Name", ""): item.text or "" for item in root.findall("s:Header/w:OptionSet/w:Option", NAMESPACES)
    }
    asked = _text(root, "w:MaxEnvelopeSize")
    most = int(asked) if asked.isascii() and asked.isdigit() else MOST_ENVELOPE
    return Request(
        action=_text(root, "a:Action"),
        message_id=_text(root, "a:MessageID"),
        options=options,
        shell_id=selectors.get("ShellId"),
        timeout=seconds(_text(root, "w:OperationTimeout"), OPERATION_SECONDS),
        most=min(max(most, LEAST_ENVELOPE), MOST_ENVELOPE),
        body=body,
    )


def message_id_of(raw: bytes) -> str:
    """Return the id of a message that may be broken, or an empty string."""
    found = re.search(rb"MessageID[^>]*>\s*([\w:-]{1,60})\s*<", raw[:MOST_ENVELOPE])
    return found[1].decode("ascii", "replace") if found else ""


def envelope(action: str, related: str, body: str) -> bytes:
    """Return an answer to the message ``related``."""
    spaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
    return (
        f'<s:Envelope xml:lang="en-US" {spaces}><s:Header><a:Action>{escape(action)}</a:Action>'
        f"<a:MessageID>uuid:{str(uuid.uuid4()).upper()}</a:MessageID><a:To>{ANONYMOUS}</a:To>"
        f"<a:RelatesTo>{escape(related)}</a:RelatesTo></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def seconds(duration: str, default: float) -> float:
    """Return an XML duration of hours, minutes and seconds in seconds."""
    found = _DURATION.fullmatch(duration)
    if not found or not any(found.groups()):
        return default
    hours, minutes, rest = found.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest or 0)


def _text(root: Element, name: str) -> str:
    found = root.find(f"s:Header/{name}", NAMESPACES)
    return (found.text or "").strip() if found is not None else ""


def _bad(message: str) -> Fault:
    return Fault(BAD_REQUEST, message, "w:SchemaValidationError")
