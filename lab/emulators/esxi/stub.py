"""pyVmomi's stub over an emulator in the same process: every byte is serialized and parsed, no socket is opened."""

from __future__ import annotations

import http.client
from typing import Any

from pyVmomi import SoapAdapter, VmomiSupport

from lab.emulators.esxi.emulator import Dropped, Emulator
from lab.emulators.esxi.wire import NEWEST


class InProcessStub(SoapAdapter.SoapStubAdapterBase):  # type: ignore[misc]
    """One client of an emulator."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(version=NEWEST)
        self.requestContext: dict[str, str] = {}
        self._emulator = emulator
        self._cookie: str | None = None
        self._action = f'"urn:vim25/{VmomiSupport.GetVersionNamespace(NEWEST).rpartition("/")[2]}"'

    def InvokeMethod(self, mo: Any, info: Any, args: Any, outerStub: Any = None) -> Any:  # noqa: N802, N803 - overrides
        """Call a method as over the wire; a dropped connection ends as it does there."""
        request = self.SerializeRequest(mo, info, args)
        body = request if isinstance(request, bytes) else request.encode()
        try:
            answer = self._emulator.handle(self._cookie, self._action, "in process", body)
        except Dropped as error:
            raise http.client.RemoteDisconnected("Remote end closed connection without response") from error
        self._cookie = answer.cookie or self._cookie
        found = SoapAdapter.SoapResponseDeserializer(outerStub or self).Deserialize(answer.body, info.result)
        if answer.status == http.client.OK:
            return found
        raise found
