"""The identity of a machine whose image is the user's own: what cloud-init is told.

It knows names, keys and networks by itself. The disks stay ours: a protected disk is found by its serial below whatever
mapping a replication stack puts over it, at every start, on a replica too, which has no seed any more.
"""

from __future__ import annotations

from pathlib import Path

from lab.images.identity import Identity, identity_files

_MANAGEMENT: dict[str, object] = {
    "dhcp4": True,
    "dhcp4-overrides": {"use-routes": False, "use-dns": False, "use-ntp": False},
}
"""The way out of a machine is never the management network."""

OVERLAY = Path(__file__).parent / "overlay"
SCRIPT = "usr/local/sbin/lab-identity"
UNIT = "etc/systemd/system/lab-disks.service"
DISKS_ARCHIVE = "disks.tar"
UNIT_TEXT = f"""[Unit]
Description=Disks from the lab
DefaultDependencies=no
After=systemd-remount-fs.service
Before=ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/{SCRIPT} disks
[Install]
WantedBy=multi-user.target
"""
FETCH_DISKS = [
    ["mkdir", "-p", "/run/lab-seed"],
    ["mount", "-L", "cidata", "-o", "ro", "/run/lab-seed"],
    ["tar", "-C", "/", "--no-same-owner", "-xf", f"/run/lab-seed/{DISKS_ARCHIVE}"],
    ["umount", "/run/lab-seed"],
    ["systemctl", "daemon-reload"],
    ["systemctl", "enable", "--now", "lab-disks.service"],
]
"""Commands of an early stage: nobody can log in before the disks are there."""


def disk_files(identity: Identity) -> dict[str, tuple[str, int]]:
    """Return path to (text, mode) of what makes and mounts file systems."""
    return {
        "etc/lab-disks": identity_files(identity)["etc/lab-disks"],
        SCRIPT: ((OVERLAY / SCRIPT).read_text(encoding="utf-8"), 0o755),
        UNIT: (UNIT_TEXT, 0o644),
    }


def documents(identity: Identity) -> dict[str, object]:
    """Return the documents of a NoCloud seed, by name."""
    writable = [
        {"path": f"/{name}", "content": text, "permissions": f"{mode:04o}"}
        for name, (text, mode) in identity_files(identity).items()
        if name.startswith("etc/sysctl.d/")
    ]
    ethernets = {
        card.network: {
            "match": {"macaddress": card.mac},
            **(_MANAGEMENT if card.address is None else {"addresses": [str(card.address)]}),
            **({"routes": [{"to": str(r.to), "via": str(r.via)} for r in card.routes]} if card.routes else {}),
        }
        for card in identity.cards
    }
    user_data = {
        "disable_root": False,
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": identity.host_key.private, "ed25519_public": identity.host_key.public},
        "users": [{"name": "root", "ssh_authorized_keys": list(identity.authorized_keys)}],
        "write_files": writable,
        "bootcmd": FETCH_DISKS,
    }
    return {
        "meta-data": {"instance-id": f"{identity.lab}-{identity.machine}", "local-hostname": identity.machine},
        "user-data": user_data,
        "network-config": {"version": 2, "ethernets": ethernets},
    }
