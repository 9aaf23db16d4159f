"""What a Redfish client sees: sushy-tools' application, of which only some paths and some systems are let through.

sushy-tools has no sessions, keeps a one-time boot for ever, lets virtual media of every machine of the libvirt be
changed, and fetches any URL (decision 0016). All of that is put right here.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import urlsplit

from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

from lab.emulators.bmc.accounts import TOKEN, Accounts, TooManySessions
from lab.emulators.bmc.faults import Broken, Busy, Dropped, Ignored, Stale
from lab.emulators.common.faults import Delay, Drop, Fail, Faults
from lab.emulators.common.wsgi import Wsgi

ROOT = "/redfish/v1"
SESSIONS = f"{ROOT}/SessionService/Sessions"
SYSTEM = re.compile(rf"{ROOT}/Systems/(?P<system>[0-9a-f-]{{36}})(?P<rest>/.*)?")
RESET = "/Actions/ComputerSystem.Reset"
DRIVE = "/VirtualMedia/Cd"
INSERT, EJECT = f"{DRIVE}/Actions/VirtualMedia.InsertMedia", f"{DRIVE}/Actions/VirtualMedia.EjectMedia"
CALLS = {
    ("GET", ""): "System.Get",
    ("PATCH", ""): "System.Patch",
    ("POST", RESET): "ComputerSystem.Reset",
    ("GET", "/VirtualMedia"): "VirtualMedia.List",
    ("GET", DRIVE): "VirtualMedia.Get",
    ("POST", INSERT): "VirtualMedia.InsertMedia",
    ("POST", EJECT): "VirtualMedia.EjectMedia",
}
"""What is let through, by the name that ``Faults`` knows it by."""
MOST_REQUEST = 1 << 16
MEDIA_HOSTS = {"127.0.0.1", "localhost"}
MOST_TAG = 63
"""Letters of an asset tag, as on real BMCs."""


class Cabling(Protocol):
    """The network cables of the machines: they hang loose whenever a machine starts. Raises CablingFailed."""

    def wire(self, system: str) -> None:
        """Prepare the start of a machine."""

    def plug(self, system: str) -> None:
        """Plug in a machine that has started."""


class CablingFailed(Exception):
    """A cable could not be plugged in; the message says why."""


class NoCables:
    """Machines whose cards need nobody."""

    def wire(self, system: str) -> None:
        """Do nothing."""

    def plug(self, system: str) -> None:
        """Do nothing."""


@dataclass
class BmcApplication:
    """``inner``: sushy-tools' application; ``systems``: the ids that exist for clients."""

    inner: Wsgi
    accounts: Accounts
    systems: frozenset[str]
    faults: Faults = field(default_factory=Faults)
    cabling: Cabling = field(default_factory=NoCables)
    _tags: dict[str, str] = field(default_factory=dict)
    _once: dict[str, str] = field(default_factory=dict)
    _changing: threading.RLock = field(default_factory=threading.RLock)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> Response:
        path = request.path.rstrip("/")
        if (request.content_length or 0) > MOST_REQUEST:
            return _error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too large")
        if path == ROOT and request.method == "GET":
            return self._root(request)
        if path == SESSIONS and request.method == "POST":
            return self._faulty("Session.Create", lambda: self._log_in(request))
        if not self.accounts.admit(request):
            return _error(HTTPStatus.UNAUTHORIZED, "no valid session and no right password")
        return self._admitted(request, path)

    def _admitted(self, request: Request, path: str) -> Response:
        if path.startswith(f"{SESSIONS}/") and request.method == "DELETE":
            gone = self.accounts.log_out(path.removeprefix(f"{SESSIONS}/"))
            return Response(status=HTTPStatus.NO_CONTENT) if gone else _error(HTTPStatus.NOT_FOUND, "no such session")
        if path == f"{ROOT}/Systems" and request.method == "GET":
            return self._faulty("Systems.List", lambda: self._forward(request))
        return self._system(request, path)

    def _system(self, request: Request, path: str) -> Response:
        found = SYSTEM.fullmatch(path)
        call = CALLS.get((request.method, (found["rest"] or "") if found else "-"))
        if found is None or call is None or found["system"] not in self.systems:
            return _error(HTTPStatus.NOT_FOUND, f"there is no {request.method} {path}")
        body = request.get_json(silent=True) if request.method != "GET" else {}
        if not isinstance(body, dict):
            return _error(HTTPStatus.BAD_REQUEST, "a JSON object is expected")
        work = {
            "System.Get": lambda: self._look(request, found["system"]),
            "System.Patch": lambda: self._patch(found["system"], body),
            "ComputerSystem.Reset": lambda: self._reset(request, found["system"], body),
            "VirtualMedia.InsertMedia": lambda: self._insert(request, body),
        }.get(call, lambda: self._forward(request))
        with self._changing:
            return self._faulty(call, work)

    def _faulty(self, call: str, work: Callable[[], Response]) -> Response:
        mishap = self.faults.take(call)
        match mishap:
            case Fail(Busy()):
                return _error(HTTPStatus.SERVICE_UNAVAILABLE, "the service is busy")
            case Fail(Ignored()):
                return Response(status=HTTPStatus.NO_CONTENT)
            case Fail(Broken(after)):
                if after:
                    work()
                return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "the service failed")
            case Fail(Stale(state)):
                return _changed(work(), lambda system: system.update(PowerState=state))
            case Drop(after):
                if after:
                    work()
                raise Dropped
            case Delay(seconds):
                threading.Event().wait(seconds)
        return work()

    def _root(self, request: Request) -> Response:
        def with_sessions(root: dict[str, Any]) -> None:
            root["Links"] = {"Sessions": {"@odata.id": SESSIONS}}

        return _changed(self._forward(request), with_sessions)

    def _log_in(self, request: Request) -> Response:
        body = request.get_json(silent=True)
        given = body if isinstance(body, dict) else {}
        if not self.accounts.knows(given.get("UserName"), given.get("Password")):
            return _error(HTTPStatus.UNAUTHORIZED, "bad credentials")
        try:
            token, identity = self.accounts.log_in()
        except TooManySessions:
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, "the limit of sessions is reached")
        place = f"{SESSIONS}/{identity}"
        document = {"@odata.id": place, "@odata.type": "#Session.v1_3_0.Session", "Id": identity, "Name": "Session"}
        return _json(HTTPStatus.CREATED, document, {TOKEN: token, "Location": place})

    def _look(self, request: Request, system: str) -> Response:
        def honest(document: dict[str, Any]) -> None:
            document["AssetTag"] = self._tags.get(system, "")
            boot = document.setdefault("Boot", {})
            if system in self._once:
                boot.update(BootSourceOverrideEnabled="Once", BootSourceOverrideTarget=self._once[system])
            elif boot.get("BootSourceOverrideTarget") in (None, "Hdd"):
                boot.update(BootSourceOverrideEnabled="Disabled", BootSourceOverrideTarget="None")

        return _changed(self._forward(request), honest)

    def _patch(self, system: str, body: dict[str, Any]) -> Response:
        if set(body) != {"AssetTag"}:
            return self._choose(system, body)
        tag = body["AssetTag"]
        if not isinstance(tag, str) or len(tag) > MOST_TAG:
            return _error(HTTPStatus.BAD_REQUEST, f"AssetTag: a text of at most {MOST_TAG} letters is expected")
        self._tags[system] = tag
        return Response(status=HTTPStatus.NO_CONTENT)

    def _choose(self, system: str, body: dict[str, Any]) -> Response:
        boot = body.get("Boot")
        if not isinstance(boot, dict):
            return _error(HTTPStatus.BAD_REQUEST, "'Boot' is expected")
        enabled, target = boot.get("BootSourceOverrideEnabled"), boot.get("BootSourceOverrideTarget")
        if enabled not in ("Once", "Continuous", "Disabled"):
            return _error(HTTPStatus.BAD_REQUEST, f"BootSourceOverrideEnabled {enabled!r} is unknown")
        wanted = "Hdd" if enabled == "Disabled" or target in (None, "None") else str(target)
        done = self._boot_from(system, wanted)
        if done.status_code < HTTPStatus.BAD_REQUEST:
            self._once.pop(system, None)
            if enabled == "Once":
                self._once[system] = wanted
        return done

    def _reset(self, request: Request, system: str, body: dict[str, Any]) -> Response:
        before = self._power_state(system)
        kind = body.get("ResetType")
        if not (kind in ("On", "ForceOn") if before == "Off" else kind == "ForceRestart"):
            return self._forward(request)
        answers: list[Response] = []

        def start() -> bool:
            answers.append(self._forward(request))
            return answers[0].status_code < HTTPStatus.BAD_REQUEST

        try:
            self.boot(system, start)
        except CablingFailed as error:
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        return answers[0]

    def boot(self, system: str, start: Callable[[], bool]) -> None:
        """Start a machine by ``start``, which says whether it did, with its cables; a choice is for one boot.

        Raises:
            CablingFailed: a cable could not be plugged in.
        """
        with self._changing:
            self.cabling.wire(system)
            if not start():
                return
            self.cabling.plug(system)
            if self._once.pop(system, None):
                # The running machine has what it boots from; the next one has not.
                self._boot_from(system, "Hdd")

    def _insert(self, request: Request, body: dict[str, Any]) -> Response:
        try:
            url = urlsplit(str(body.get("Image", "")))
            local = url.scheme in ("http", "https") and url.hostname in MEDIA_HOSTS
        except ValueError:
            local = False
        if not local:
            return _error(HTTPStatus.BAD_REQUEST, "media are fetched from http(s)://127.0.0.1 only")
        return self._forward(request)

    def _power_state(self, system: str) -> str:
        asked = self._call("GET", f"{ROOT}/Systems/{system}", None)
        return str(json.loads(asked.get_data()).get("PowerState"))

    def _boot_from(self, system: str, target: str) -> Response:
        # sushy-tools takes the target alone, and keeps it until it is told another one.
        boot = {"Boot": {"BootSourceOverrideTarget": target}}
        return self._call("PATCH", f"{ROOT}/Systems/{system}", boot)

    def _call(self, method: str, path: str, body: dict[str, Any] | None, base_url: str | None = None) -> Response:
        made = EnvironBuilder(path=path, method=method, json=body, base_url=base_url)
        return Response.from_app(self.inner, made.get_environ(), buffered=True)

    def _forward(self, request: Request) -> Response:
        body = request.get_json(silent=True) if request.method != "GET" else None
        return self._call(request.method, request.path.rstrip("/"), body, request.host_url)


def _changed(answer: Response, change: Callable[[dict[str, Any]], None]) -> Response:
    if answer.status_code != HTTPStatus.OK:
        return answer
    document = json.loads(answer.get_data())
    change(document)
    return _json(HTTPStatus.OK, document)


def _json(status: int, document: object, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(document), status, headers, content_type="application/json")


def _error(status: int, message: str) -> Response:
    return _json(status, {"error": {"code": "Base.1.0.GeneralError", "message": message}})
