"""Opening the libvirt driver of one lab."""

from __future__ import annotations

from pathlib import Path

import libvirt

from lab.hypervisors.libvirt.driver import LibvirtHypervisor
from lab.hypervisors.libvirt.session import Session, silence_library
from lab.hypervisors.libvirt.storage import Storage
from lab.hypervisors.protocols import HypervisorError
from lab.networks.bridge import BridgeSwitches
from lab.networks.hub import HubSwitches
from lab.networks.naming import tag_of
from lab.networks.protocol import Switches


def connect(uri: str, lab: str, store: Path, acceleration: str, switches: Switches | None = None) -> LibvirtHypervisor:
    """Open the driver of one lab.

    ``store`` is the folder of labs, which the host's QEMU can reach; ``acceleration`` is "kvm" or "tcg".
    ``switches``: not the lab's own, but these.

    Raises:
        HypervisorError: libvirt does not answer; the message says how to start it.
    """
    silence_library()
    try:
        connection = libvirt.open(uri)
    except libvirt.libvirtError as error:
        cure = "systemctl start libvirtd, or without systemd: libvirtd -d && virtlogd -d"
        raise HypervisorError(f"libvirt does not answer at {uri}: {error.get_error_message()} ({cure})") from error
    session = Session(connection, tag_of(lab, store))
    root = store / lab
    return LibvirtHypervisor(
        session=session,
        storage=Storage(session, root / "disks"),
        switches=switches or switches_of(uri, lab, store),
        domain_type="kvm" if acceleration == "kvm" else "qemu",
        consoles=root / "consoles",
    )


def switches_of(uri: str, lab: str, store: Path) -> Switches:
    """Return a lab's switches: bridges where libvirt runs as root (the system daemon), hubs for a session daemon."""
    tag = tag_of(lab, store)
    return BridgeSwitches(tag) if uri.endswith("/system") else HubSwitches(tag, store / lab / "hubs")
