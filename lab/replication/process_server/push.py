"""Push installation of the mobility service: copy, verify, install, restart, wait until it polls."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lab.replication.common.control import CommandFailed
from lab.replication.common.durable import JSON
from lab.replication.process_server.ssh import SshTarget
from lab.replication.support.facts import PROBE, read_probe
from lab.replication.support.matrix import SECONDARY_SITE, UNSUPPORTED_SYSTEM, load_matrix
from lab.waiting import Deadline, DeadlineExceeded, wait_until

SPOOL = "/var/lib/recovery/spool"
# Not on a protected disk: what the agent writes would be captured, and would wait where writes are held.
STATE = f"{SPOOL}/agent"
POLLED = f"{STATE}/polled-in-boot"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
STEP_S = 120.0
INSTALL_S = 600.0
REBOOT_S = 600.0
QUESTION_S = 40.0


def push_install(arguments: JSON) -> JSON:
    """Install the mobility service on a machine, and restart it so that capture begins with its first write.

    Args:
        arguments: ``{machine, address, user, key_file, known_hosts, package, configuration_server: {address, port},
            passphrase_file, ca_file}``, paths on this machine; ``settings`` (optional) is merged into the agent's
            configuration file: ``{disks, change_log, spool_dir}``; ``support`` (optional) names the support matrix.

    Returns:
        ``{version, rebooted}``: the digest of the package, and whether a restart was needed.

    Raises:
        CommandFailed: a step failed; ``unsupported-system`` when the machine is not one that is supported, and then
            nothing was put on it.
    """
    target = SshTarget(
        str(arguments["address"]),
        str(arguments["user"]),
        Path(arguments["key_file"]),
        Path(arguments["known_hosts"]),
    )
    _require_supported(target, str(arguments.get("support") or SECONDARY_SITE))
    package = Path(arguments["package"])
    version = hashlib.sha256(package.read_bytes()).hexdigest()
    if _runs(target, version):
        return {"version": version, "rebooted": False}
    before = _boot_id(target)
    _install(target, package, version, arguments)
    _reboot(target)
    _wait_for_agent(target, before)
    return {"version": version, "rebooted": True}


def _require_supported(target: SshTarget, matrix: str) -> None:
    refusal = load_matrix(matrix).refusal_of(read_probe(target.run(PROBE, timeout=QUESTION_S)))
    if refusal is not None:
        raise CommandFailed(UNSUPPORTED_SYSTEM, f"{target.address}: {refusal}")


def _runs(target: SshTarget, version: str) -> bool:
    """Return whether this version is installed and has polled since the machine was started."""
    try:
        current = target.run(["readlink", "/opt/recovery/current"], timeout=QUESTION_S)
    except CommandFailed:
        return False
    return current.strip().endswith(version) and _polls(target)


def _polls(target: SshTarget) -> bool:
    try:
        boots = target.run(["cat", BOOT_ID, POLLED], timeout=QUESTION_S).split()
    except CommandFailed:
        return False
    return len(boots) == 2 and boots[0] == boots[1]  # noqa: PLR2004 - one word from each file


def _boot_id(target: SshTarget) -> str:
    return target.run(["cat", BOOT_ID], timeout=QUESTION_S).strip()


def _install(target: SshTarget, package: Path, version: str, arguments: JSON) -> None:
    work = f"/var/tmp/recovery-{version[:16]}"  # noqa: S108 - owned by root, on the target
    files = {
        "package.tar.gz": package.read_bytes(),
        "passphrase": Path(arguments["passphrase_file"]).read_bytes(),
        "ca.pem": Path(arguments["ca_file"]).read_bytes(),
        "config.json": json.dumps(_agent_config(arguments)).encode(),
    }
    # Each exchange costs a second on a slow machine.
    try:
        target.place(work, files, timeout=STEP_S)
        arrived = target.run(["sha256sum", f"{work}/package.tar.gz"], timeout=STEP_S).split()[0]
        if arrived != version:
            raise CommandFailed("package-damaged", f"the package arrived with digest {arrived}")
        target.run(["tar", "-xzf", f"{work}/package.tar.gz", "-C", work], timeout=STEP_S)
        target.run(_installer(work), timeout=INSTALL_S)
    finally:
        target.run(["rm", "-rf", work], timeout=STEP_S)


def _installer(work: str) -> list[str]:
    return [
        *("env", f"PYTHONPATH={work}", "python3", "-m", "lab.replication.install", "--kind", "mobility"),
        *("--config", f"{work}/config.json", "--package", f"{work}/package.tar.gz"),
        *("--passphrase-file", f"{work}/passphrase", "--ca", f"{work}/ca.pem"),
    ]


def _agent_config(arguments: JSON) -> JSON:
    return {
        "kind": "mobility",
        "name": str(arguments["machine"]),
        "configuration_server": arguments["configuration_server"],
        "identity_dir": "/etc/recovery/mobility",
        "state_dir": STATE,
        "addresses": [str(arguments["address"])],
        "spool_dir": SPOOL,
        **arguments.get("settings", {}),
    }


def _reboot(target: SshTarget) -> None:
    # The delay lets this session end properly; a reboot under it would look like a failure.
    # Without an accuracy of its own a timer may wait a minute to share a wake-up with others.
    delayed = ["systemd-run", "--on-active=1", "--timer-property=AccuracySec=100ms"]
    target.run([*delayed, "systemctl", "reboot"], timeout=QUESTION_S)
    target.disconnect()


def _wait_for_agent(target: SshTarget, before: str) -> None:
    def back() -> bool:
        try:
            return _boot_id(target) != before and _polls(target)
        except CommandFailed:
            return False

    try:
        wait_until(back, Deadline.after(REBOOT_S), "poll of the agent after the restart", every=1)
    except DeadlineExceeded as error:
        raise CommandFailed("agent-silent", str(error)) from error
