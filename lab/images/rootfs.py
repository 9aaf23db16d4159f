"""Root file system of a recipe: Debian packages by mmdebstrap, then the files below."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab.errors import LabError
from lab.images.recipe import Recipe

BUILD_SECONDS = 900.0
CONSOLE_LINES = 15

IDENTITY_SCRIPT = """#!/bin/sh
# The host hands a machine its identity on a small read-only disk; a machine without that disk keeps what it has.
for disk in /sys/block/*; do
  [ "$(cat "$disk/serial" 2>/dev/null)" = lab-seed ] || continue
  mkdir -p /run/lab-seed
  mount -t iso9660 -o ro "/dev/${disk##*/}" /run/lab-seed || exit 1
  tar -C / --no-same-owner -xf /run/lab-seed/identity.tar || exit 1
  umount /run/lab-seed
done
hostname -F /etc/hostname
[ -e /etc/lab-disks ] || exit 0
while read -r serial uuid kind mount; do
  if ! blkid -U "$uuid" >/dev/null; then
    for disk in /sys/block/*; do
      [ "$(cat "$disk/serial" 2>/dev/null)" = "$serial" ] || continue
      # Only a blank disk is formatted: a replica's disk is never blank.
      blkid -p "/dev/${disk##*/}" >/dev/null || "mkfs.$kind" -q -m 0 -U "$uuid" "/dev/${disk##*/}"
    done
  fi
  mkdir -p "$mount"
  # Below a device mapping the disk itself is busy; /dev/mapper sorts first.
  for device in $(blkid -o device -t UUID="$uuid" | sort); do
    mount -o noatime "$device" "$mount" && break
  done
done < /etc/lab-disks
"""

IDENTITY_UNIT = """[Unit]
Description=Identity from the lab
DefaultDependencies=no
After=systemd-remount-fs.service
Before=systemd-networkd.service systemd-sysctl.service ssh.service sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-identity
[Install]
WantedBy=sysinit.target
"""

FALLBACK_NETWORK = """# A card that nobody configured is the management card of a machine without an identity disk: a replica.
[Match]
Type=ether
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
[DHCPv4]
UseGateway=no
UseRoutes=no
UseDNS=no
"""

SSHD = """PasswordAuthentication no
PermitRootLogin prohibit-password
UseDNS no
MaxSessions 64
PrintLastLog no
"""


def build_rootfs(recipe: Recipe, folder: Path, log: Path) -> None:
    """Fill ``folder`` with the recipe's system.

    Raises:
        LabError: mmdebstrap failed; the message carries the last lines of its log.
    """
    command = [
        "mmdebstrap", "--variant=minbase", "--include=" + ",".join(recipe.packages),
        '--aptopt=APT::Install-Recommends "0"',
        *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale", "info")),
        '--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d"',
        '--essential-hook=echo MODULES=list > "$1/etc/initramfs-tools/conf.d/lab"',
        "--essential-hook=printf '%s\\n' " + " ".join(recipe.initramfs_modules) + ' > "$1/etc/initramfs-tools/modules"',
        recipe.suite, str(folder),
    ]  # fmt: skip
    with log.open("wb") as output:
        result = subprocess.run(command, check=False, stdout=output, stderr=output, timeout=BUILD_SECONDS)
    if result.returncode != 0:
        raise LabError(f"the image did not build:\n{tail(log)}", hint=f"whole log: {log}")
    _configure(recipe, folder)


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-CONSOLE_LINES:])


def _configure(recipe: Recipe, root: Path) -> None:
    kernel = next((root / "boot").glob("vmlinuz-*")).name.removeprefix("vmlinuz-")
    arguments = " ".join([f"root=UUID={recipe.filesystem_uuid}", "rw", *recipe.kernel_arguments])
    _write(
        root / "boot/grub/grub.cfg",
        f"set timeout=0\nlinux /boot/vmlinuz-{kernel} {arguments}\ninitrd /boot/initrd.img-{kernel}\nboot\n",
    )
    _write(root / "etc/fstab", f"UUID={recipe.filesystem_uuid} / ext4 noatime 0 0\n")
    # Empty, so that every machine makes its own at its first boot without going through first-boot presets.
    _write(root / "etc/machine-id", "")
    _write(root / "etc/systemd/network/90-fallback.network", FALLBACK_NETWORK)
    _write(root / "etc/ssh/sshd_config.d/lab.conf", SSHD)
    _write(root / "etc/systemd/system/lab-identity.service", IDENTITY_UNIT)
    _write(root / "usr/local/sbin/lab-identity", IDENTITY_SCRIPT, mode=0o755)
    _enable(root, "sysinit.target", "/etc/systemd/system/lab-identity.service")
    _enable(root, "multi-user.target", "/lib/systemd/system/systemd-networkd.service")
    for unit in recipe.masked_units:
        _link(root / "etc/systemd/system" / unit, "/dev/null")
    # Multi-user is all a server needs; the graphical target only adds jobs.
    _link(root / "etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for listing in (root / "var/lib/apt/lists").glob("*_*"):
        listing.unlink()
    (root / "etc/apt/sources.list").write_text("", encoding="utf-8")


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _enable(root: Path, target: str, unit: str) -> None:
    _link(root / "etc/systemd/system" / f"{target}.wants" / unit.rsplit("/", 1)[-1], unit)


def _link(path: Path, to: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(to)
