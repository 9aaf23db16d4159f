"""The emulated host: its inventory is built here, and every SOAP request passes through ``handle``."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyVmomi import vim, vmodl

from lab.emulators.common.faults import Delay, Drop, Fail, Faults
from lab.emulators.esxi import wire
from lab.emulators.esxi.backend import Backend
from lab.emulators.esxi.build import build_inventory
from lab.emulators.esxi.datastore_paths import DatastoreFolder
from lab.emulators.esxi.registry import Call, Registry, writes
from lab.emulators.esxi.service import Licence
from lab.emulators.esxi.sessions import Account, Session, Sessions
from lab.emulators.esxi.site import Site, UserNetwork
from lab.emulators.esxi.tasks import TaskManager

log = logging.getLogger(__name__)
WITHOUT_LOGIN = frozenset({"RetrieveServiceContent", "Login", "CurrentTime"})
MANAGEMENT = UserNetwork("recovery-lab management", restricted=True)
MANAGEMENT_WITH_HOST = UserNetwork("recovery-lab management with host", restricted=False)
SETTLE_SECONDS = 30.0


class Dropped(Exception):
    """The connection is to be closed without an answer."""


@dataclass(frozen=True)
class Settings:
    """What kind of host is emulated."""

    account: Account
    reader: Account | None = None
    vcenter: bool = False
    licence: Licence = Licence.FULL
    datastore: str = "datastore1"
    lab: str = ""
    user_networks: tuple[UserNetwork, ...] = (MANAGEMENT, MANAGEMENT_WITH_HOST)


@dataclass(frozen=True)
class Answer:
    """A SOAP answer; ``cookie`` is the session's when it has just logged in."""

    status: int
    body: bytes
    cookie: str | None = field(default=None, repr=False)


class Emulator:
    """One host or vCenter over a folder and a backend. ``unknown`` lists what clients asked for in vain."""

    def __init__(self, settings: Settings, home: Path, backend: Backend) -> None:
        self.settings = settings
        self.backend = backend
        self.faults = Faults()
        self.unknown: list[str] = []
        self.sessions = Sessions(settings.account, *([settings.reader] if settings.reader else []))
        self.registry = Registry()
        self._closing = threading.Event()
        root = home / "datastore"
        root.mkdir(parents=True, exist_ok=True)
        backend.open(self._ended)
        self.site = Site(
            registry=self.registry,
            tasks=TaskManager(self.registry, "TaskManager" if settings.vcenter else "ha-taskmgr"),
            backend=backend,
            folder=DatastoreFolder(settings.datastore, root.resolve()),
            lab=settings.lab,
            user_networks=settings.user_networks,
            vcenter=settings.vcenter,
        )
        self.managers = build_inventory(self.site, self.sessions, settings.licence)

    def handle(self, cookie: str | None, action: str | None, agent: str, body: bytes) -> Answer:
        """Answer one request. Raises Dropped, wire.BadRequest."""
        version = wire.version_of(action)
        session = self.sessions.of(cookie)
        session.agent = agent
        try:
            info, given = wire.parse_request(body, version)
            value = self._call(session, info, given)
        except vmodl.MethodFault as fault:
            return Answer(500, wire.fault_response(fault, version))
        fresh = session.cookie if session.user and session.cookie != cookie else None
        return Answer(200, wire.response(info, value, version), fresh)

    def close(self) -> None:
        """Cut the power of every machine and wait for what still runs."""
        self._closing.set()
        self.site.tasks.settle(SETTLE_SECONDS)
        self.backend.close()

    def wait(self, seconds: float) -> None:
        """Let time pass, not beyond the end of the emulator."""
        self._closing.wait(seconds)

    def _call(self, session: Session, info: Any, given: Any) -> Any:
        name = info.wsdlName
        mishap = self.faults.take(name)
        if isinstance(mishap, Delay):
            self.wait(mishap.seconds)
        if isinstance(mishap, Drop) and not mishap.after:
            raise Dropped(name)
        if not session.user and name not in WITHOUT_LOGIN and not _is_content(given, info):
            raise vim.fault.NotAuthenticated(privilegeId="System.View", msg="The session is not authenticated.")
        if isinstance(mishap, Fail):
            raise mishap.fault
        value = self._dispatch(session, info, given)
        if isinstance(mishap, Drop):
            raise Dropped(name)
        return value

    def _dispatch(self, session: Session, info: Any, given: Any) -> Any:
        reference = given._this  # noqa: SLF001 - the WSDL's name
        managed = self.managers.own_of(session, self.registry.find(reference))
        call = Call(session, given)
        self.registry.calls.session = session
        if info.wsdlName == "Fetch":
            return managed.read_property(given.prop)
        handler = managed.handler(info.wsdlName)
        if handler is None:
            self._note_unknown(managed.kind, info.wsdlName)
            raise vmodl.fault.MethodNotFound(
                receiver=reference,
                method=info.wsdlName,
                msg=f"the emulator does not implement {managed.kind.__name__}.{info.wsdlName}",
            )
        if writes(handler) and session.read_only:
            raise vim.fault.NoPermission(
                object=reference,
                privilegeId=f"{managed.kind.__name__}.{info.wsdlName}",
                msg="Permission to perform this operation was denied.",
            )
        if writes(handler) and self.settings.licence is Licence.FREE:
            raise vim.fault.RestrictedVersion(
                msg="Current license or ESXi version prohibits execution of the operation."
            )
        if info.isTask:
            return self.site.tasks.start(managed, info, call, handler)
        return handler(call)

    def _note_unknown(self, kind: Any, method: str) -> None:
        log.error("a client called %s.%s, which is not implemented", kind.__name__, method)
        self.unknown.append(f"{kind.__name__}.{method}")

    def _ended(self, identity: str) -> None:
        """A machine switched itself off."""
        for machine in list(self.site.machines):
            if machine.identity == identity:
                machine.ended()


def _is_content(given: Any, info: Any) -> bool:
    """Whether the call reads what everybody may know before the login."""
    service = isinstance(given._this, vim.ServiceInstance)  # noqa: SLF001 - pyVmomi's name
    return bool(service and info.wsdlName == "Fetch" and given.prop == "content")
