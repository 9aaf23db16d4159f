"""Root file system of a recipe: Debian packages by mmdebstrap, then the files below."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from lab.errors import LabError
from lab.images.group import run_group
from lab.images.recipe import Recipe
from lab.logs import last_lines

BUILD_SECONDS = 900.0
LOG_LINES = 15

OVERLAY = Path(__file__).parent / "overlay"
"""Files of every image, below their paths in it."""
EARLY = Path(__file__).parent / "early"
"""Files that have to be there before packages are configured."""
MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"
LEFT_BY_PACKAGES = (
    "etc/ssh/ssh_host_*",
    "var/lib/apt/lists/*_*",
    "var/log/*.log",
    "var/log/apt/*",
    # Compiled from files that the recipe leaves out, and searched for every device that appears.
    "usr/lib/udev/hwdb.bin",
)


def build_rootfs(recipe: Recipe, folder: Path, log: Path) -> None:
    """Fill ``folder`` with the recipe's system.

    Raises:
        LabError: mmdebstrap failed, or did not end; the message of a failure carries the last lines of its log.
    """
    command = [
        "mmdebstrap", "--variant=minbase", "--include=" + ",".join(recipe.packages),
        '--aptopt=APT::Install-Recommends "0"',
        # Otherwise usrmerge does it, which brings the whole of Perl.
        f"--hook-dir={MERGED_USR}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.excluded_paths),
        f"--essential-hook=copy-in {shlex.quote(str(EARLY / 'etc' / 'initramfs-tools'))} /etc",
        "--essential-hook=printf '%s\\n' " + " ".join(recipe.initramfs_modules) + ' > "$1/etc/initramfs-tools/modules"',
        recipe.suite, str(folder),
    ]  # fmt: skip
    if run_group(command, log, BUILD_SECONDS):
        raise LabError(f"the image did not build:\n{last_lines(log, LOG_LINES)}", hint=f"whole log: {log}")
    _configure(recipe, folder)


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
    for source in (path for path in OVERLAY.rglob("*") if path.is_file()):
        _install(source, root / source.relative_to(OVERLAY))
    _enable(root, "sysinit.target", "/etc/systemd/system/lab-identity.service")
    _enable(root, "multi-user.target", "/lib/systemd/system/systemd-networkd.service")
    for unit in recipe.masked_units:
        _link(root / "etc/systemd/system" / unit, "/dev/null")
    for generator in (root / "lib/systemd/system-generators").iterdir():
        if generator.name not in recipe.generators:
            _link(root / "etc/systemd/system-generators" / generator.name, "/dev/null")
    # Multi-user is all a server needs; the graphical target only adds jobs.
    _link(root / "etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target")
    for pattern in LEFT_BY_PACKAGES:
        for path in root.glob(pattern):
            path.unlink()
    (root / "etc/apt/sources.list").write_text("", encoding="utf-8")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


def _install(source: Path, target: Path) -> None:
    """Copy a file. Its mode is not taken over: it depends on the umask of whoever made the clone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def _enable(root: Path, target: str, unit: str) -> None:
    _link(root / "etc/systemd/system" / f"{target}.wants" / unit.rsplit("/", 1)[-1], unit)


def _link(path: Path, to: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(to)
