"""What a physical machine boots over a network by iPXE: the installer of a boot medium, as files for HTTP.

The image and the identity are no part of what iPXE loads: the installer fetches them, the identity over TLS and once.
"""

from __future__ import annotations

import base64
from pathlib import Path

from lab.images.cache import Image
from lab.images.identity import identity_files
from lab.images.medium import KERNEL_ARGUMENTS, Fetching, Installation, write_installer
from lab.images.seed import tar_of
from lab.images.stream import ImageStream

BOOT_SCRIPT = "boot.ipxe"
IMAGE = "image.zst"


def boot_script(mac: str) -> str:
    """Return iPXE's script; names in it are beside it. ``mac``: of the card that was booted, lower case with colons."""
    # pxelinux' words for the card, which initramfs-tools understands.
    card = f"BOOTIF=01-{mac.replace(':', '-')}"
    arguments = " ".join((*KERNEL_ARGUMENTS, "ip=dhcp", card))
    return f"#!ipxe\nkernel vmlinuz {arguments}\ninitrd initrd\ninitrd installer\nboot\n"


def write_netboot(
    installation: Installation, image: Image, stream: ImageStream, folder: Path, *, mac: str, fetching: Fetching
) -> None:
    """Write the files that everybody on the network may have into ``folder``; the identity is not among them.

    Raises:
        LabError: a tool failed, or the image has not what the installer needs.
        ValueError: a serial number with characters that none has.
    """
    write_installer(installation, image, stream, folder / "installer", fetching)
    for name, source in (("vmlinuz", image.kernel), ("initrd", image.initrd), (IMAGE, stream.path)):
        (folder / name).symlink_to(source.resolve())
    (folder / BOOT_SCRIPT).write_text(boot_script(mac), encoding="ascii")


def identity_text(installation: Installation) -> str:
    """Return what the installer is given over TLS: the archive of the identity, in base64."""
    return base64.encodebytes(tar_of(identity_files(installation.identity))).decode()
