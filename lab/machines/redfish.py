"""A BMC over Redfish (DMTF DSP0266): the state is read again after every change, never taken from an answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab.errors import BadInput
from lab.hypervisors.model import PowerState
from lab.machines.power import BmcError, BootSource, MediaRefused, OutcomeUnknown, wait_for
from lab.machines.redfish_session import ROOT, Change, RedfishSession, Target
from lab.topology.load import did_you_mean
from lab.waiting import Deadline, DeadlineExceeded, wait_until

STATES = {
    "On": PowerState.ON,
    "PoweringOff": PowerState.ON,
    "Off": PowerState.OFF,
    "PoweringOn": PowerState.OFF,
    "Paused": PowerState.PAUSED,
}
"""A machine on its way to a state does not have it yet."""
SOURCES = {BootSource.DISK: "Hdd", BootSource.CD: "Cd", BootSource.NETWORK: "Pxe"}
OPTICAL = {"CD", "DVD"}
SETTLE_SECONDS = 30.0
INSERT_SECONDS = 300.0
"""Some BMCs fetch the whole medium before they answer."""
RESET = "#ComputerSystem.Reset"
Document = dict[str, Any]


class RedfishBmc:
    """One system behind a Redfish service."""

    def __init__(self, session: RedfishSession, path: str) -> None:
        self._session = session
        self._path = path

    def state(self) -> PowerState:
        """Return the present state. Raises BmcError, also for a state that Redfish does not have."""
        said = self._system().get("PowerState")
        if said not in STATES:
            raise BmcError(f"{self._path}: power state {said!r} is unknown; expected one of {', '.join(STATES)}")
        return STATES[said]

    def power_on(self, deadline: Deadline) -> None:
        """Switch on and wait. Raises BmcError, DeadlineExceeded."""
        if self.state() is not PowerState.ON:
            self._reset("On")
            wait_for(self, PowerState.ON, deadline)

    def power_off(self, deadline: Deadline) -> None:
        """Cut the power and wait. Raises BmcError, DeadlineExceeded."""
        if self.state() is not PowerState.OFF:
            self._reset("ForceOff")
            wait_for(self, PowerState.OFF, deadline)

    def press_button(self) -> None:
        """Ask for a shutdown. Raises BmcError."""
        if self.state() is PowerState.ON:
            self._reset("GracefulShutdown")

    def reset(self, deadline: Deadline) -> None:
        """Restart. Raises BmcError when it is off, OutcomeUnknown: on is on, before and after."""
        if self.state() is not PowerState.ON:
            raise BmcError(f"{self._path} is off: it cannot be reset")
        if self._reset("ForceRestart") is Change.UNKNOWN:
            raise OutcomeUnknown(f"{self._path}: the BMC failed during a reset; whether it was made is unknown")
        wait_for(self, PowerState.ON, deadline)

    def boot_override(self) -> BootSource | None:
        """Return the choice for the next boot. Raises BmcError."""
        boot = self._system().get("Boot", {})
        if boot.get("BootSourceOverrideEnabled", "Disabled") == "Disabled":
            return None
        return next((key for key, name in SOURCES.items() if name == boot.get("BootSourceOverrideTarget")), None)

    def boot_once(self, source: BootSource) -> None:
        """Choose for the next boot. Raises BmcError."""
        if source is BootSource.CD and self.inserted() is None:
            raise BmcError(f"{self._path}: there is no medium to boot from: insert one first")
        self._choose("Once", SOURCES[source])
        seen = self.boot_override()
        if seen is not source:
            raise BmcError(f"{self._path}: boot from {source} was asked for, the BMC says {seen or 'nothing of it'}")

    def boot_normally(self) -> None:
        """Take the choice back. Raises BmcError."""
        self._choose("Disabled", "None")
        seen = self.boot_override()
        if seen not in (None, BootSource.DISK):
            raise BmcError(f"{self._path}: the BMC still boots from {seen}")

    def inserted(self) -> str | None:
        """Return the medium's URL. Raises BmcError."""
        return _medium_in(self._drive())

    def insert(self, url: str) -> None:
        """Insert a medium. Raises MediaRefused."""
        drive = self._drive()
        if _medium_in(drive) == url:
            return
        if _medium_in(drive) is not None:
            raise MediaRefused(f"{_medium_in(drive)} is in the drive: eject it first")
        with _refusal(f"{url} cannot be inserted"):
            order = {"Image": url, "Inserted": True}
            self._session.change("POST", _action(drive, "#VirtualMedia.InsertMedia"), order, INSERT_SECONDS)
        self._wait_for_medium(url)

    def eject(self) -> None:
        """Empty the drive. Raises MediaRefused."""
        drive = self._drive()
        if _medium_in(drive) is None:
            return
        with _refusal(f"{_medium_in(drive)} cannot be ejected"):
            self._session.change("POST", _action(drive, "#VirtualMedia.EjectMedia"), {})
        self._wait_for_medium(None)

    def asset_tag(self) -> str:
        """Return the text that people write on a machine. Raises BmcError."""
        return str(self._system().get("AssetTag") or "")

    def write_asset_tag(self, text: str) -> None:
        """Replace that text. Raises BmcError, also when it does not stay."""
        self._session.change("PATCH", self._path, {"AssetTag": text})
        seen = self.asset_tag()
        if seen != text:
            raise BmcError(f"{self._path}: the asset tag '{text}' was written, the BMC says '{seen}'")

    def clock(self) -> int:
        """Return the BMC's time, in seconds since 1970. Raises BmcError."""
        return self._session.clock()

    def close(self) -> None:
        """Log out."""
        self._session.close()

    def _system(self) -> Document:
        return self._session.get(self._path)

    def _reset(self, kind: str) -> Change:
        system = self._system()
        allowed = system.get("Actions", {}).get(RESET, {}).get("ResetType@Redfish.AllowableValues")
        if allowed is not None and kind not in allowed:
            raise BmcError(f"{self._path}: the BMC has no reset '{kind}', only {', '.join(map(str, allowed))}")
        return self._session.change("POST", _action(system, RESET), {"ResetType": kind})

    def _choose(self, enabled: str, target: str) -> None:
        boot = {"BootSourceOverrideEnabled": enabled, "BootSourceOverrideTarget": target}
        self._session.change("PATCH", self._path, {"Boot": boot})

    def _drive(self) -> Document:
        """Return the CD drive. Raises BmcError when there is none."""
        for holder in self._holders():
            for link in _members(self._session.get(_link(holder, "VirtualMedia"))):
                drive = self._session.get(link)
                if OPTICAL & set(drive.get("MediaTypes", ())):
                    return drive
        raise BmcError(f"{self._path}: the BMC has no virtual CD drive")

    def _holders(self) -> Iterator[Document]:
        """Yield what may have drives: the system since Redfish 2020, its managers before."""
        system = self._system()
        managers = system.get("Links", {}).get("ManagedBy", ()) if "VirtualMedia" not in system else ()
        documents = [system, *(self._session.get(str(link.get("@odata.id"))) for link in managers)]
        return (document for document in documents if "VirtualMedia" in document)

    def _wait_for_medium(self, url: str | None) -> None:
        try:
            what = f"medium {url}" if url else "empty drive"
            wait_until(lambda: self.inserted() == url, Deadline.after(SETTLE_SECONDS), what)
        except DeadlineExceeded as error:
            raise MediaRefused(f"{self._path}: {error}; in the drive: {self.inserted() or 'nothing'}") from error


def connect(target: Target) -> RedfishBmc:
    """Log in and find the system. Raises BmcError, LoginRefused, BadInput when it is not clear which one is meant."""
    session = RedfishSession(target)
    try:
        return RedfishBmc(session, _chosen(session, target))
    except BaseException:
        session.close()
        raise


def _chosen(session: RedfishSession, target: Target) -> str:
    links = _members(session.get(_link(session.get(ROOT), "Systems")))
    known = {link.rstrip("/").rsplit("/", 1)[-1]: link for link in links}
    if target.system is None:
        if len(known) == 1:
            return next(iter(known.values()))
        message = f"{target.endpoint} has {len(known)} systems; name one of them: {', '.join(sorted(known))}"
        raise BadInput(message)
    if target.system not in known:
        hint = did_you_mean(target.system, known)
        raise BadInput(f"{target.endpoint} has no system '{target.system}'{hint}")
    return known[target.system]


def _members(collection: Document) -> list[str]:
    return [_link(member, None) for member in collection.get("Members", ())]


def _link(document: Document, key: str | None) -> str:
    try:
        return str((document if key is None else document[key])["@odata.id"])
    except (KeyError, TypeError) as error:
        raise BmcError(f"the BMC's answer has no link {key or 'to a member'}") from error


def _action(document: Document, name: str) -> str:
    try:
        return str(document["Actions"][name]["target"])
    except (KeyError, TypeError) as error:
        raise BmcError(f"the BMC does not offer {name}") from error


def _medium_in(drive: Document) -> str | None:
    return str(drive.get("Image") or "") or None if drive.get("Inserted") else None


@contextmanager
def _refusal(what: str) -> Iterator[None]:
    try:
        yield
    except BmcError as error:
        raise MediaRefused(f"{what}: {error}") from error
