"""The lab's corner of one host: where its objects go, and the few calls that everything else is built on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from lab.hypervisors.esxi.describe import PATHS, Found, found_of
from lab.hypervisors.esxi.naming import Names
from lab.hypervisors.esxi.session import Read, Session
from lab.hypervisors.esxi.settings import Placement
from lab.hypervisors.esxi.transfer import Transfer
from lab.hypervisors.protocols import FreeLicence, HypervisorError, NotFound
from lab.waiting import Deadline

TASK_SECONDS = 300.0
COPY_SECONDS = 3600.0
FREE_EDITION = "esxBasic"


@dataclass(frozen=True)
class Host:
    """What was found out at connect: objects by their references, and what the host can do."""

    datacenter: Any
    datacenter_name: str
    machines: Any
    pool: Any
    host: Any
    datastore_name: str
    browser: Any
    networks: Any
    """The network system of the host."""
    vcenter: bool
    free_licence: bool


@dataclass(frozen=True)
class Site:
    """Session, host, names, files."""

    session: Session
    host: Host
    names: Names
    placement: Placement
    files: Transfer

    def find(self, name: str) -> Found:
        """Return a machine of the lab, read now. Raises NotFound."""
        found = next((item for item in self.found() if item.name == name), None)
        if found is None:
            raise NotFound(f"machine {name}: does not exist")
        return found

    def found(self) -> list[Found]:
        """Return every machine of the lab, by name, in one round trip."""
        reads = self.session.read_all(vim.VirtualMachine, PATHS)
        mine = [item for read in reads if (item := found_of(read, self.names)) is not None]
        return sorted(mine, key=lambda item: item.name)

    def run(self, what: str, begin: Callable[[], Any], deadline: Deadline | None = None) -> Any:
        """Begin a task that changes the host and wait for it. Raises HypervisorError, DeadlineExceeded."""
        self.require_licence(what)
        task = self.session.once(what, begin)
        return self.session.wait(task, what, deadline or Deadline.after(TASK_SECONDS))

    def require_licence(self, what: str) -> None:
        """Raise FreeLicence before anything is tried on a host that allows reading only."""
        if self.host.free_licence:
            raise FreeLicence(f"{what}: the host has a free ESXi licence, which allows reading only")


def probe(session: Session, placement: Placement) -> Host:
    """Find the lab's place on a host or vCenter. Raises NotFound naming what there is instead."""
    about = session.content.about
    datacenter = _choose(session, vim.Datacenter, placement.datacenter, "datacenter", ("name", "vmFolder"))
    datastore = _choose(session, vim.Datastore, placement.datastore, "datastore", ("name", "browser"))
    host = _choose(session, vim.HostSystem, placement.host, "host", ("name", "parent", "configManager.networkSystem"))
    parent = host.values["parent"]
    return Host(
        datacenter=datacenter.ref,
        datacenter_name=str(datacenter.values["name"]),
        machines=datacenter.values["vmFolder"],
        pool=session.read_one(parent, "resourcePool")["resourcePool"],
        host=host.ref,
        datastore_name=str(datastore.values["name"]),
        browser=datastore.values["browser"],
        networks=host.values["configManager.networkSystem"],
        vcenter=about.apiType == "VirtualCenter",
        free_licence=_free(session, vcenter=about.apiType == "VirtualCenter"),
    )


def _choose(session: Session, kind: Any, wanted: str, what: str, paths: Sequence[str]) -> Read:
    reads = session.read_all(kind, paths)
    found = next((read for read in reads if not wanted or read.values["name"] == wanted), None)
    if found is None:
        names = ", ".join(sorted(str(read.values["name"]) for read in reads)) or "none"
        raise NotFound(f"{what} {wanted or '(any)'}: does not exist; there are: {names}")
    return found


def _free(session: Session, *, vcenter: bool) -> bool:
    """Whether a stand-alone host has the free licence; a vCenter cannot manage one that has."""
    manager = session.content.licenseManager
    if vcenter or manager is None:
        return False
    try:
        values: Mapping[str, Any] = session.read_one(manager, "licenses")
    except HypervisorError:
        return False  # not readable for this account: the first change will tell
    licences = values.get("licenses") or []
    return bool(licences) and all(licence.editionKey == FREE_EDITION for licence in licences)
