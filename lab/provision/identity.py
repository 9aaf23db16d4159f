"""The identity of a machine of a lab, from its blueprint and the lab's keys."""

from __future__ import annotations

from lab.images.identity import Identity, SshKey
from lab.provision.blueprint import Blueprint, hosts_file
from lab.provision.lab import Lab


def machine_identity(lab: Lab, plan: Blueprint, key: SshKey) -> Identity:
    """Return what makes this machine different from others; the lab's own keys may log in."""
    keys = sorted(lab.folder.login_key.parent.glob("*.pub"))
    return Identity(
        lab=lab.folder.name,
        machine=plan.name,
        host_key=key,
        authorized_keys=tuple(path.read_text(encoding="ascii").strip() for path in keys),
        cards=plan.cards,
        filesystems=plan.filesystems,
        hosts=hosts_file(lab.topology),
        forwards_packets=plan.forwards_packets,
        bridges=plan.bridges,
    )
