"""Looking at this machine. Gathers, judges nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from lab.doctor.acceleration import assess
from lab.topology.facts import PACKAGE_OF_NETBOOT, PACKAGE_OF_TOOL, Facts, LibvirtFact

SYSTEM = "qemu:///system"
SESSION = "qemu:///session"
# Debian leaves the second half out for everybody but root.
PROGRAM_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def gather(cache_dir: Path, uris: Iterable[str] | None = None) -> Facts:
    """Return what is true here now; the first time this boots a kernel under KVM, which takes up to 10 s."""
    root = os.geteuid() == 0
    # Asking starts a session's libvirt; root has no use for one.
    asked = uris if uris is not None else (SYSTEM,) if root else (SYSTEM, SESSION)
    memory = _memory()
    place = _existing(cache_dir)
    kernel, initrd = newest_kernel([cache_dir, Path("/boot")])
    return Facts(
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=memory["MemTotal"],
        memory_available_bytes=memory["MemAvailable"],
        disk_path=str(place),
        disk_free_bytes=shutil.disk_usage(place).free,
        acceleration=assess(cache_dir, kernel, initrd),
        libvirt=tuple(ask_libvirt(uri) for uri in asked),
        missing_tools=frozenset(tool for tool in (*PACKAGE_OF_TOOL, *PACKAGE_OF_NETBOOT) if not _is_there(tool)),
        systemd=Path("/run/systemd/system").is_dir(),
        root=root,
    )


def _is_there(tool: str) -> bool:
    """Whether a program is on the path, or a file where it is expected."""
    return Path(tool).is_file() if tool.startswith("/") else shutil.which(tool, path=PROGRAM_PATH) is not None


KERNELS = ("vmlinuz-*", "*.vmlinuz", "images/*.vmlinuz")
"""Of ``/boot``, of a cache of images, of a lab's home; no deeper: trees of images that are being built are there."""


def newest_kernel(folders: Iterable[Path]) -> tuple[Path | None, Path | None]:
    """Return the newest readable kernel of the first folder that has one, and the initrd that belongs to it."""
    for folder in folders:
        readable = [kernel for kind in KERNELS for kernel in folder.glob(kind) if os.access(kernel, os.R_OK)]
        if readable:
            kernel = max(readable, key=lambda path: path.stat().st_mtime_ns)
            initrds = (kernel.with_suffix(".initrd"), folder / f"initrd.img-{kernel.name.removeprefix('vmlinuz-')}")
            return kernel, next((initrd for initrd in initrds if initrd.is_file()), None)
    return None, None


def ask_libvirt(uri: str) -> LibvirtFact:
    """Open ``uri`` read-only and return what libvirt said."""
    try:
        import libvirt
    except ImportError:
        return LibvirtFact(uri, reachable=False, detail="the Python package libvirt-python is not installed")
    # libvirt prints every error to stderr unless a handler is set; the error is in the answer already
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        connection = libvirt.openReadOnly(uri)
    except libvirt.libvirtError as error:
        return LibvirtFact(uri, reachable=False, detail=str(error))
    try:
        version = connection.getLibVersion()
    finally:
        connection.close()
    return LibvirtFact(uri, reachable=True, detail=f"{version // 1000000}.{version // 1000 % 1000}.{version % 1000}")


def _memory() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    fields = (line.replace(":", "").split() for line in lines)
    return {field[0]: int(field[1]) * 1024 for field in fields if len(field) > 1}


def _existing(path: Path) -> Path:
    return next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.is_dir())
