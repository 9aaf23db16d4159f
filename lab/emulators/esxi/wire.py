"""SOAP on the server side, made of pyVmomi's own types (facts/vsphere.md 3.1): requests in, answers and faults out.

No entity is ever expanded: a document type declaration ends the parse. The size of a request is bounded by the server.
"""

from __future__ import annotations

import functools
import io
import re
from typing import Any
from xml.parsers.expat import ExpatError, ParserCreate

from pyVmomi import SoapAdapter, VmomiSupport, vim, vmodl

NEWEST = "vim.version.v8_0_3_0"
FETCH = VmomiSupport.Object(
    name="Fetch",
    wsdlName="Fetch",
    version=VmomiSupport.BASE_VERSION,
    isTask=False,
    resultFlags=VmomiSupport.F_OPTIONAL,
    result=object,
    params=(VmomiSupport.Object(name="prop", type=str, version=VmomiSupport.BASE_VERSION, flags=0),),
)
"""What pyVmomi's attribute reads call; it is in no table of types."""


class BadRequest(ValueError):
    """The bytes are no SOAP request that may be read."""


def parse_request(data: bytes, version: str) -> tuple[Any, Any]:
    """Return (method description, arguments with ``_this``) of a request.

    Raises:
        BadRequest: not well formed, or with a document type declaration.
        vmodl.fault.MethodNotFound: no such method in the types.
    """
    parser = _RequestParser(version)
    try:
        return parser.parse(data)
    except ExpatError as error:
        raise BadRequest(f"not well-formed XML: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadRequest(f"not a request of this version: {error}") from error


def method_named(name: str) -> Any:
    """Return the description of a method. Raises vmodl.fault.MethodNotFound."""
    if name == "Fetch":
        return FETCH
    try:
        return VmomiSupport.GetWsdlMethod("urn:vim25", name).info
    except KeyError:
        raise vmodl.fault.MethodNotFound(method=name, msg=f"there is no method {name}") from None


def response(info: Any, value: Any, version: str) -> bytes:
    """Return the answer of a method as a SOAP envelope."""
    body = ""
    if value is not None:
        result = VmomiSupport.Object(
            name="returnval", type=info.result, version=VmomiSupport.BASE_VERSION, flags=VmomiSupport.F_OPTIONAL
        )
        body = _serialized(value, result, version)
    namespace = VmomiSupport.GetWsdlNamespace(version)
    return _envelope(f'<{info.wsdlName}Response xmlns="{namespace}">{body}</{info.wsdlName}Response>')


def fault_response(fault: Any, version: str) -> bytes:
    """Return a fault as a SOAP envelope."""
    name = VmomiSupport.GetWsdlName(type(fault)) + "Fault"
    message = fault.msg or type(fault).__name__
    writer = io.StringIO()
    detail = VmomiSupport.Object(name=name, type=object, version=VmomiSupport.BASE_VERSION, flags=0)
    _Serializer(writer, version, _namespaces(version)).SerializeFaultDetail(fault, detail)
    body = writer.getvalue().replace(f"<{name}", f'<{name} xmlns="{VmomiSupport.GetWsdlNamespace(version)}"', 1)
    tag = SoapAdapter.SOAP_FAULT_TAG
    text = SoapAdapter.XmlEscape(message)
    return _envelope(
        f"<{tag}><faultcode>ServerFaultCode</faultcode><faultstring>{text}</faultstring><detail>{body}</detail></{tag}>"
    )


def version_of(soap_action: str | None) -> str:
    """Return the version that a client speaks, the newest of ours when it does not say."""
    uri = (soap_action or "").strip('"').rsplit(":", 1)[-1]
    version = VmomiSupport.versionMap.get(uri)
    return str(version) if version and version.startswith("vim.") else NEWEST


def comparable(value: Any) -> str:
    """Return a text that is equal for equal values; for finding out what changed."""
    if value is None or isinstance(value, bool | int | str):
        return repr(value)
    anything = VmomiSupport.Object(
        name="v", type=object, version=VmomiSupport.BASE_VERSION, flags=VmomiSupport.F_OPTIONAL
    )
    return _serialized(value, anything, NEWEST)


class _RequestParser(SoapAdapter.ExpatDeserializerNSHandlers):  # type: ignore[misc]
    """Counterpart of SoapResponseDeserializer, for requests."""

    def __init__(self, version: str) -> None:
        super().__init__()
        # Without a stub, references stay plain references.
        self._values = SoapAdapter.SoapDeserializer(None, version)
        self._info: Any = None
        self._inside = False

    def parse(self, data: bytes) -> tuple[Any, Any]:
        self.parser = ParserCreate(namespace_separator=SoapAdapter.NS_SEP)
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = _refuse_doctype
        SoapAdapter.SetHandlers(self.parser, SoapAdapter.GetHandlers(self))
        self.parser.Parse(data, True)
        if self._info is None:
            raise BadRequest("the envelope has no body")
        return self._info, self._values.GetResult()

    def StartElementHandler(self, tag: str, attributes: Any) -> None:  # noqa: N802 - expat's name
        if tag == SoapAdapter.XMLNS_SOAPENV + " Body":
            self._inside = True
        elif self._inside and self._info is None:
            self._info = method_named(tag.rsplit(SoapAdapter.NS_SEP, 1)[-1])
            self._values.Deserialize(self.parser, _request_type(self._info.wsdlName), False, self.nsMap)
            self._values.StartElementHandler(tag, attributes)

    def EndElementHandler(self, tag: str) -> None:  # noqa: N802 - expat's name
        pass

    def CharacterDataHandler(self, data: str) -> None:  # noqa: N802 - expat's name
        pass


class _Serializer(SoapAdapter.SoapSerializer):  # type: ignore[misc]
    """pyVmomi's, with four corrections, each of which some client needs (facts 3.1)."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # A real host's answer has no versionId.
        self.outermostAttrs: str = "".join(re.findall(r" xmlns:\S+", self.outermostAttrs))

    def _QName(self, kind: Any, namespace: Any) -> Any:  # noqa: N802 - overrides
        attribute, name = super()._QName(kind, namespace)
        # govc: a reference of any type is a ManagedObjectReference on the wire.
        return attribute, name + "Reference" if kind is VmomiSupport.ManagedObject else name

    def _Serialize(self, value: Any, info: Any, namespace: Any) -> None:  # noqa: N802 - overrides
        if value is None or (isinstance(value, list) and not value and info.type is not object):
            return  # an unset field is left out, also one that the types call mandatory
        if info.name[:1].isupper() and isinstance(value, VmomiSupport.ManagedObject | VmomiSupport.DataObject):
            # libvirt: the items of an array of anything say what they are.
            info = VmomiSupport.Object(name=info.name, type=object, version=info.version, flags=info.flags)
        super()._Serialize(value, info, namespace)


@functools.cache
def _request_type(method: str) -> Any:
    """Return the WSDL's <Method>RequestType as a class: ``_this`` and the parameters."""
    info = method_named(method)
    this = VmomiSupport.Object(
        name="_this", type=VmomiSupport.ManagedObject, version=VmomiSupport.BASE_VERSION, flags=0
    )
    fields = [this, *info.params]
    members = {
        "_wsdlName": f"{method}RequestType",
        "_version": VmomiSupport.BASE_VERSION,
        "_propList": fields,
        "_propInfo": {field.name: field for field in fields},
    }
    return type(f"Request_{method}", (VmomiSupport.DataObject,), members)


def _refuse_doctype(*_declaration: object) -> None:
    raise BadRequest("a document type declaration is not allowed")


def _serialized(value: Any, info: Any, version: str) -> str:
    writer = io.StringIO()
    _Serializer(writer, version, _namespaces(version)).Serialize(value, info)
    return writer.getvalue()


def _namespaces(version: str) -> Any:
    found = SoapAdapter.SOAP_NSMAP.copy()
    found[VmomiSupport.GetWsdlNamespace(version)] = ""
    return found


def _envelope(body: str) -> bytes:
    return f"{SoapAdapter.XML_HEADER}\n{SoapAdapter.SOAP_START}{body}{SoapAdapter.SOAP_END}".encode()


__all__ = ["NEWEST", "BadRequest", "comparable", "fault_response", "parse_request", "response", "version_of", "vim"]
