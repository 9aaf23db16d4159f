"""The service instance and the managers of sessions and licences."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pyVmomi import vim, vmodl

from lab.emulators.esxi.registry import Call, Managed, Registry, operation
from lab.emulators.esxi.sessions import Session, Sessions


class Licence(StrEnum):
    """What may be done: a free host can be read only."""

    FULL = "full"
    FREE = "free"


class ServiceInstance(Managed):
    """The root of everything."""

    kind = vim.ServiceInstance

    def __init__(self, registry: Registry, content: Any) -> None:
        self.content = content
        super().__init__(registry, "ServiceInstance")

    @property
    def server_clock(self) -> datetime:
        """The time."""
        return datetime.now(UTC)

    @operation
    def retrieve_service_content(self, call: Call) -> Any:  # noqa: ARG002 - the protocol's signature
        """Return where everything else is."""
        return self.content

    @operation
    def current_time(self, call: Call) -> datetime:  # noqa: ARG002 - the protocol's signature
        """Return the time."""
        return datetime.now(UTC)


class SessionManager(Managed):
    """Log in and out."""

    kind = vim.SessionManager

    def __init__(self, registry: Registry, identity: str, sessions: Sessions) -> None:
        self._sessions = sessions
        super().__init__(registry, identity)

    @property
    def current_session(self) -> Any:
        """The caller's session, unset before the login."""
        session: Session = self.registry.calls.session
        return user_session(session) if session.user else None

    @operation
    def login(self, call: Call) -> Any:
        """Log in. Raises InvalidLogin."""
        if not self._sessions.log_in(call.session, call.given.userName, call.given.password):
            raise vim.fault.InvalidLogin(msg="Cannot complete login due to an incorrect user name or password.")
        return user_session(call.session)

    @operation
    def logout(self, call: Call) -> None:
        """Log out."""
        self._sessions.log_out(call.session)

    @operation
    def session_is_active(self, call: Call) -> bool:
        """Whether a session is alive and that user's."""
        found = self._sessions.by_key(call.given.sessionID)
        return found is not None and found.user == call.given.userName


class LicenseManager(Managed):
    """The licence, as far as a driver asks for it."""

    kind = vim.LicenseManager

    def __init__(self, registry: Registry, identity: str, licence: Licence) -> None:
        free = licence is Licence.FREE
        edition = "esxBasic" if free else "esx.enterprisePlus.cpuPackage"
        name = "VMware vSphere Hypervisor" if free else "VMware vSphere Enterprise Plus"
        self.licensed_edition = edition
        self.licenses = [
            vim.LicenseManager.LicenseInfo(
                licenseKey="00000-00000-00000-00000-00000", editionKey=edition, name=name, total=0, used=1
            )
        ]
        super().__init__(registry, identity)


def user_session(session: Session) -> Any:
    """Return a session as a client sees it; the cookie is not in it."""
    return vim.UserSession(
        key=session.key,
        userName=session.user,
        fullName=session.user,
        loginTime=session.login_time,
        lastActiveTime=datetime.now(UTC),
        locale="en",
        messageLocale="en",
        extensionSession=False,
        ipAddress="127.0.0.1",
        userAgent=session.agent,
        callCount=0,
    )


__all__ = ["Licence", "LicenseManager", "ServiceInstance", "SessionManager", "user_session", "vmodl"]
