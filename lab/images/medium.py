"""The boot medium of a physical machine: an ISO that installs an image, for BIOS, without anybody at the keyboard.

``netboot`` has the same for a machine that boots over a network.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import zstandard

from lab.errors import LabError
from lab.images.cache import Image
from lab.images.identity import Identity, identity_files
from lab.images.inside import ImageFiles
from lab.images.seed import tar_of
from lab.images.stream import ImageStream
from lab.images.tools import run_tool

SCRIPT = Path(__file__).parent / "installer" / "lab-install"
TOKEN_FILE = "/etc/lab-installed"  # noqa: S105 - the name of a file
STARTED, DONE, REFUSED = "lab-install: started", "lab-install: done", "lab-install: refused:"
"""What the installer says on the console at its start and at its end."""
DRIVE_MODULES = ("ata_piix", "ahci", "xhci_pci", "ehci_pci", "usb_storage", "sr_mod", "isofs")
"""What a drive may be behind: ATA, or USB as a real BMC has it. A kernel without one of them is taken as it is."""
GRUB_MODULES = ("biosdisk", "iso9660", "linux", "normal", "configfile", "serial", "terminal", "boot")
KERNEL_ARGUMENTS = (
    *("boot=lab-install", "console=ttyS0", "quiet", "loglevel=4", "net.ifnames=0"),
    *("mitigations=off", "no_timer_check", "tsc=reliable"),
)
GRUB_CONFIG = f"""serial --unit=0 --speed=115200
terminal_output serial
set timeout=0
linux /vmlinuz {" ".join(KERNEL_ARGUMENTS)}
initrd /initrd /installer
boot
"""
LIBRARIES = ("libz.so.1", "liblz4.so.1")
"""Of zstd; the initramfs has the others."""
TLS_LIBRARIES = ("libssl.so.3", "libcrypto.so.3")
LIBRARY_FOLDER = "/usr/lib/x86_64-linux-gnu"
SERIAL = re.compile(r"[!-~]{1,64}")


@dataclass(frozen=True)
class TargetDisk:
    """A disk of the machine, found by its serial number; it is refused below ``least_bytes``."""

    serial: str
    least_bytes: int


@dataclass(frozen=True)
class Installation:
    """What a medium makes of a machine. The first disk is the system disk; others are emptied.

    ``token``: what the installed system shows in ``TOKEN_FILE``, new for every installation.
    """

    identity: Identity
    disks: tuple[TargetDisk, ...]
    token: str


@dataclass(frozen=True)
class Fetching:
    """Where an installer that was booted over a network fetches the image and the identity from.

    ``image``: a URL, over HTTP: its digest is known. ``identity_at``: HOST:PORT, where TLS is spoken with the
    certificate ``trusted`` (PEM) and no other; ``once``: what the identity is given for, a single time.
    """

    image: str
    identity_at: str
    once: str
    trusted: str


def write_medium(installation: Installation, image: Image, stream: ImageStream, path: Path) -> None:
    """Write the ISO; it holds the machine's private host key, so only its owner may read it.

    Raises:
        LabError: a tool failed, or the image has not what the installer needs.
        ValueError: a serial number with characters that none has.
    """
    path.touch(mode=0o600)
    path.chmod(0o600)
    with tempfile.TemporaryDirectory(prefix="medium-") as folder:
        tree = Path(folder) / "tree"
        (tree / "boot/grub").mkdir(parents=True)
        (tree / "boot/grub/grub.cfg").write_text(GRUB_CONFIG, encoding="ascii")
        run_tool(["grub-mkimage", "-O", "i386-pc-eltorito", "-o", str(tree / "boot/grub/eltorito.img"),
              "-p", "/boot/grub", *GRUB_MODULES])  # fmt: skip
        (tree / "token").write_text(f"{installation.token}\n", encoding="ascii")
        (tree / "identity.tar").write_bytes(tar_of(identity_files(installation.identity)))
        write_installer(installation, image, stream, tree / "installer")
        parts = {"vmlinuz": image.kernel, "initrd": image.initrd, "image.zst": stream.path}
        run_tool(
            ["genisoimage", "-quiet", "-R", "-J", "-V", "LABINSTALL", "-b", "boot/grub/eltorito.img",
             "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", "-graft-points", "-o", str(path),
             f"/={tree}", *(f"{name}={source}" for name, source in parts.items())]
        )  # fmt: skip


def settings_text(installation: Installation, stream: ImageStream, fetching: Fetching | None = None) -> dict[str, str]:
    """Return the installer's files of settings, by name. Raises ValueError for a serial number that none can be."""
    for disk in installation.disks:
        if not SERIAL.fullmatch(disk.serial):
            raise ValueError(f"{disk.serial!r} is no serial number of a disk")
    values = {"TOKEN": installation.token, "DIGEST": stream.digest, "IMAGE_BYTES": str(stream.image_bytes)}
    if fetching is not None:
        values |= {"IMAGE_URL": fetching.image, "IDENTITY_AT": fetching.identity_at, "ONCE": fetching.once}
    return {
        "settings": "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items()),
        "disks": "".join(f"{disk.serial} {disk.least_bytes}\n" for disk in installation.disks),
        **({} if fetching is None else {"trusted.pem": fetching.trusted}),
    }


def module_order(dependencies: str, wanted: tuple[str, ...], present: frozenset[str]) -> list[str]:
    """Return the paths of modules below the kernel's folder, each after what it needs.

    Args:
        dependencies: text of ``modules.dep``.
        wanted: names; those that the kernel does not have are left out.
        present: names of modules that are loaded before.
    """
    needs: dict[str, tuple[str, list[str]]] = {}
    for line in dependencies.splitlines():
        path, _, others = line.partition(":")
        needs[_module_name(path)] = (path, [_module_name(other) for other in others.split()])
    ordered: list[str] = []

    def add(name: str) -> None:
        if name in present or name not in needs or needs[name][0] in ordered:
            return
        path, others = needs[name]
        for other in others:
            add(other)
        ordered.append(path)

    for name in wanted:
        add(name)
    return ordered


def _module_name(path: str) -> str:
    return path.rsplit("/", 1)[-1].split(".", 1)[0].replace("-", "_")


def write_installer(
    installation: Installation, image: Image, stream: ImageStream, target: Path, fetching: Fetching | None = None
) -> None:
    """Write the archive that is unpacked over the recipe's own initramfs: script, settings, modules, programs.

    Raises:
        LabError: a tool failed, or the image has not what the installer needs.
        ValueError: a serial number with characters that none has.
    """
    with tempfile.TemporaryDirectory(prefix="installer-") as folder:
        work = Path(folder)
        _fill_installer(installation, image, stream, work, fetching)
        names = "\n".join(str(path.relative_to(work)) for path in sorted(work.rglob("*")))
        pack = ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"]
        target.write_bytes(run_tool(pack, given=names.encode(), cwd=work))


def _fill_installer(
    installation: Installation, image: Image, stream: ImageStream, work: Path, fetching: Fetching | None
) -> None:
    files = ImageFiles(image.disk)
    own = work / "lab-install"
    own.mkdir(parents=True)
    (work / "scripts").mkdir()
    shutil.copyfile(SCRIPT, work / "scripts/lab-install")
    modules = f"/lib/modules/{files.kernel_release()}"
    files.read(f"{modules}/modules.dep", own / "modules.dep")
    loaded = frozenset(_module_name(name) for name in _names_in(image.initrd) if name.endswith(".ko"))
    # Those of the initramfs are there when its own list was loaded, and all that depend on them too.
    ordered = module_order((own / "modules.dep").read_text(encoding="ascii"), DRIVE_MODULES, loaded)
    for path in ordered:
        files.read(f"{modules}/{path}", own / path)
    (own / "modules.dep").unlink()
    texts: Mapping[str, str] = {
        **settings_text(installation, stream, fetching),
        "modules": "".join(f"{p}\n" for p in ordered),
    }
    for name, text in texts.items():
        (own / name).write_text(text, encoding="ascii")
    programs, libraries = ["zstd"], list(LIBRARIES)
    if fetching is not None:
        programs.append("openssl")
        libraries.extend(TLS_LIBRARIES)
    for program in programs:
        files.read(f"/usr/bin/{program}", work / "usr/bin" / program)
        (work / "usr/bin" / program).chmod(0o755)
    for library in libraries:
        files.read(f"{LIBRARY_FOLDER}/{library}", work / LIBRARY_FOLDER.lstrip("/") / library)


def _names_in(initrd: Path) -> list[str]:
    """Return the names of the files in an initramfs that zstd has packed. Raises LabError."""
    try:
        with initrd.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
            unpacked = reader.read()
    except zstandard.ZstdError as error:
        raise LabError(f"{initrd.name} is no initramfs of this lab: {error}") from error
    return run_tool(["cpio", "--quiet", "-t"], given=unpacked).decode(errors="replace").splitlines()
