"""Whether KVM really runs guests here.

A device node, a successful ``KVM_CREATE_VM`` and libvirt's capabilities prove nothing: there are machines where all
three are fine and every guest hangs. So a kernel is booted once and the answer is remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import selectors
import shutil
import subprocess
import tempfile
from pathlib import Path

from lab.topology.facts import Acceleration, AccelerationFact
from lab.waiting import Deadline

__all__ = ["Acceleration", "AccelerationFact", "acceleration", "assess", "kernel_ran", "prove_kvm"]

QEMU = "qemu-system-x86_64"
DEVICE = Path("/dev/kvm")
PROOF_SECONDS = 10.0
_STARTED = "Linux version"
_FINISHED = ("Run /init as init process", "Run /sbin/init as init process", "Kernel panic - not syncing: VFS")


def acceleration(cache_dir: Path, kernel: Path | None, initrd: Path | None) -> Acceleration:
    """Return what to run guests with; boots ``kernel`` once (10 s at most) and remembers the answer in ``cache_dir``.

    Without a kernel to boot the answer is TCG until there is a proof.
    """
    return assess(cache_dir, kernel, initrd).acceleration


def assess(cache_dir: Path, kernel: Path | None, initrd: Path | None) -> AccelerationFact:
    """Return what to run guests with, and why."""
    if not DEVICE.exists():
        return AccelerationFact(Acceleration.TCG, proved=True, reason=f"there is no {DEVICE}")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return AccelerationFact(Acceleration.TCG, proved=True, reason=f"{DEVICE} may not be opened by this user")
    if shutil.which(QEMU) is None:
        return AccelerationFact(Acceleration.TCG, proved=False, reason=f"{QEMU} is not installed")
    cache = cache_dir / "acceleration.json"
    machine = _machine_identity()
    key = f"{machine}:{_file_identity(kernel)}" if kernel else None
    remembered = _recall(cache, machine, key)
    if remembered is not None:
        return _fact(works=remembered)
    if kernel is None or key is None:
        reason = f"{DEVICE} is there, but no kernel has been booted with it yet"
        return AccelerationFact(Acceleration.TCG, proved=False, reason=reason)
    works = prove_kvm(kernel, initrd, Deadline.after(PROOF_SECONDS))
    _remember(cache, key, works=works)
    return _fact(works=works)


def prove_kvm(kernel: Path, initrd: Path | None, deadline: Deadline) -> bool:
    """Boot ``kernel`` under KVM and return whether it ran as far as its init, or its complaint about a root disk."""
    # the processor model that the libvirt driver gives to machines: another one would prove something else
    command = [QEMU, "-accel", "kvm", "-cpu", "host", "-M", "pc", "-m", "512", "-display", "none", "-nodefaults"]
    command += ["-no-reboot", "-serial", "stdio", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]
    command += ["-initrd", str(initrd)] if initrd else []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    ) as process:
        try:
            return _watch(process, deadline)
        finally:
            process.kill()


def kernel_ran(console: str) -> bool:
    """Return whether a serial console shows a kernel that started and came to the end of its own boot."""
    start = console.find(_STARTED)
    return start >= 0 and any(mark in console[start:] for mark in _FINISHED)


def _watch(process: subprocess.Popen[bytes], deadline: Deadline) -> bool:
    console = b""
    if process.stdout is None:
        return False
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(deadline.remaining):
            chunk = os.read(process.stdout.fileno(), 65536)
            console += chunk
            if not chunk or kernel_ran(console.decode(errors="replace")) or deadline.expired:
                break
    return kernel_ran(console.decode(errors="replace"))


def _fact(*, works: bool) -> AccelerationFact:
    if works:
        return AccelerationFact(Acceleration.KVM, proved=True, reason="a kernel booted under KVM")
    reason = f"{DEVICE} is there, but a kernel that was started with it did not boot ({PROOF_SECONDS:.0f} s at most)"
    return AccelerationFact(Acceleration.TCG, proved=True, reason=reason)


def _machine_identity() -> str:
    device = DEVICE.stat()
    version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=False).stdout
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    parts = (version, platform.release(), boot, device.st_rdev, device.st_ctime_ns)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _file_identity(path: Path) -> str:
    status = path.stat()
    return hashlib.sha256(repr((path.name, status.st_size, status.st_mtime_ns)).encode()).hexdigest()[:32]


def _recall(cache: Path, machine: str, key: str | None) -> bool | None:
    """Return the remembered answer of this kernel, or of any kernel on this machine when there is none to boot."""
    answers = _answers(cache)
    if key is not None:
        return answers.get(key)
    return next((works for other, works in answers.items() if other.startswith(f"{machine}:")), None)


def _answers(cache: Path) -> dict[str, bool]:
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(cache: Path, key: str, *, works: bool) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    answers = {**_answers(cache), key: works}
    with tempfile.NamedTemporaryFile("w", dir=cache.parent, delete=False, encoding="utf-8") as file:
        json.dump(answers, file, indent=2)
    Path(file.name).replace(cache)
