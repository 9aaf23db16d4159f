"""What a lab has to remember between two commands. Written before the first object is made."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from lab.errors import LabError
from lab.provision.home import LabFolder


class Phase(StrEnum):
    """How far a lab has come."""

    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"


class EsxiReader(BaseModel):
    """An account of the role "read-only" on the host, for discovery; the password is never in here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str
    password_file: Path | None = None
    password_variable: str = ""


class EsxiAccess(BaseModel):
    """How a lab's ESXi host is reached. The password is in the file or in the environment, never in here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str
    port: int
    user: str
    certificate: Path
    password_file: Path | None = None
    password_variable: str = ""
    datastore: str = ""
    emulated: bool = False
    reader: EsxiReader | None = None


class HypervAccess(BaseModel):
    """How a lab's Hyper-V host is reached. The password is in the file or in the environment, never in here.

    ``uri`` is the libvirt that has an emulated host's machines, empty when nothing has to be removed there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str
    port: int
    user: str
    login: str
    certificate: Path
    exchange: Path
    password_file: Path | None = None
    password_variable: str = ""
    emulated: bool = False
    uri: str = ""
    vmm: bool = False


class PhysicalAccess(BaseModel):
    """How the BMC and the system of a physical machine are reached. The password is in the file, never in here.

    ``console``: the record of its serial console, None when nobody records it. ``lease``: proves that the machine is
    this lab's. ``uri`` is the libvirt of the virtual machine that stands in. ``ipmi_port``: power goes by IPMI, which
    the topology allows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str
    system: str
    user: str
    certificate: Path
    password_file: Path
    ssh_host: str
    ssh_port: int
    lease: str
    console: Path | None = None
    uri: str = ""
    ipmi_port: int | None = None


class LentAccess(BaseModel):
    """How root logs in to a machine that is only lent, with its owner's key. ``lease`` proves that it is ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ssh_host: str
    ssh_port: int
    key: Path
    host_key: str
    lease: str


class WentOn(BaseModel):
    """The saved lab that a lab went on from: its key, and when it was taken (ns since 1970).

    ``renewed``: the build of the stack that it had, where another one was installed over it; empty where none was.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    taken_ns: int
    renewed: str = ""


class LabState(BaseModel):
    """The state file of a lab."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lab: str
    topology: Path
    topology_digest: str
    host_uris: tuple[str, ...]
    acceleration: str
    phase: Phase
    host_keys: dict[str, str]
    """Machine name to its public SSH host key."""
    esxi: EsxiAccess | None = None
    """The ESXi host, where there is one; ``host_uris`` has libvirt's, which may be there too."""
    hyperv: HypervAccess | None = None
    """The Hyper-V host, where there is one."""
    on_libvirt: tuple[str, ...] = ()
    """The machines of the topology that libvirt has, in a lab that has an ESXi or Hyper-V host too."""
    physical: dict[str, PhysicalAccess] = Field(default_factory=dict)
    """The machines behind BMCs; no hypervisor knows them."""
    lent: dict[str, LentAccess] = Field(default_factory=dict)
    """The machines that were there already."""
    inside: dict[str, str] = {}
    """Machines that run inside of another machine, and that one; their order gives them their ports there."""
    nested_hosts: tuple[str, ...] = ()
    """The machines that are hypervisor hosts, also those with nothing inside yet."""
    management: str = ""
    """The management network, in a lab with such hosts."""
    run_folder: Path | None = None
    save_as: str = ""
    """The key under which it is to be saved once its stack is installed; empty: not at all, or that is over."""
    went_on: WentOn | None = None
    """Where it comes from, if it was not booted. Its disks stand on that saved lab's."""


def load_state(folder: LabFolder) -> LabState | None:
    """Return the state, or None when there is no such lab. Raises LabError for a damaged file."""
    try:
        return LabState.model_validate_json(folder.state.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise LabError(f"the state of lab {folder.name} is damaged: {error}", hint=f"lab down {folder.name}") from error


def save_state(folder: LabFolder, state: LabState) -> None:
    """Replace the state file in one step."""
    temporary = folder.state.with_suffix(".new")
    temporary.write_text(state.model_dump_json(indent=1), encoding="utf-8")
    temporary.replace(folder.state)
