"""The installer of every component, run as root from the unpacked package:

``python3 -m lab.replication.install --kind KIND --config FILE --passphrase-file FILE --ca FILE --package TAR``

It can be repeated: what is there already stays. Standard library only.
"""  # noqa: D415 - the command line is not a sentence

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import tarfile
from pathlib import Path

from lab.replication.common.config import ServiceConfig, load_config
from lab.replication.common.durable import write_atomically
from lab.replication.common.identity import ensure_identity
from lab.replication.common.processor import CPU_INFO, tls_choice
from lab.replication.support.facts import facts_of_this_machine

CONSOLE = "console"
KINDS = ("configuration-server", "process-server", "master-target", "mobility", "provider", "fabric", CONSOLE)
SYSTEMCTL_TIMEOUT_S = 180
SPOOL_DEVICE = "/dev/mapper/mobility-spool"
OPENSSL_CNF = Path("/etc/recovery/openssl.cnf")
LAUNCHER = """#!/bin/sh
cd /opt/recovery/current && {tls} exec python3 -m lab.replication.console "$@"
"""
UNIT = """[Unit]
Description=Recovery {kind}
Wants=network-online.target
After=network-online.target
{condition}
[Service]
ExecStart=/usr/bin/python3 -m lab.replication.{module} --config /etc/recovery/{kind}.json
WorkingDirectory=/opt/recovery/current
Environment=PYTHONPATH=/opt/recovery/current {tls} PYTHONUNBUFFERED=1
Restart=always
RestartSec=2
TimeoutStopSec=60
UMask=0077

[Install]
WantedBy=multi-user.target
"""


class Installer:
    """Installs one component below ``root`` (``/`` outside of tests)."""

    def __init__(self, kind: str, root: Path = Path("/")) -> None:
        self._kind = kind
        self._root = root
        self._settings = root / "etc" / "recovery"
        self._tls = tls_choice(CPU_INFO.read_text())

    def unpack(self, package: Path) -> str:
        """Unpack to ``/opt/recovery/releases/<sha256>`` and make it the current release; return the digest."""
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        releases = self._root / "opt" / "recovery" / "releases"
        release = releases / digest
        if not release.exists():
            unfinished = releases / f".{digest}"
            unfinished.mkdir(parents=True, exist_ok=True)
            with tarfile.open(package) as archive:
                archive.extractall(unfinished, filter="data") if hasattr(tarfile, "data_filter") else _extract(
                    archive, unfinished
                )
            unfinished.rename(release)
        link = releases.parent / ".current.new"
        link.unlink(missing_ok=True)
        link.symlink_to(Path("releases") / digest)
        link.replace(releases.parent / "current")
        return digest

    def configure(self, config: Path) -> ServiceConfig:
        """Put the configuration in its place and return it.

        Raises:
            BadConfig: it is not the configuration of this kind of component.
        """
        loaded = load_config(config)
        self._settings.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._settings.chmod(0o700)
        write_atomically(self._settings / f"{self._kind}.json", json.dumps(loaded.settings, indent=1).encode())
        write_atomically(self._settings / "openssl.cnf", self._tls.configuration.encode(), 0o644)
        return loaded

    def write_launcher(self) -> None:
        """Write the console's command; it is no service."""
        folder = self._root / "usr" / "local" / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        launcher = LAUNCHER.format(tls=self._tls_variables())
        write_atomically(folder / "recovery-console", launcher.encode(), 0o755)

    def write_unit(self) -> str:
        """Write the systemd unit and return its name."""
        name = f"recovery-{self._kind}.service"
        units = self._root / "etc" / "systemd" / "system"
        units.mkdir(parents=True, exist_ok=True)
        # A machine without a change log (a test copy of a replica) has nothing to capture with.
        condition = f"ConditionPathExists={SPOOL_DEVICE}\n" if self._kind == "mobility" else ""
        module = self._kind.replace("-", "_")
        unit = UNIT.format(kind=self._kind, module=module, condition=condition, tls=self._tls_variables())
        write_atomically(units / name, unit.encode(), 0o644)
        return name

    def _tls_variables(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self._tls.environment(OPENSSL_CNF).items())


def _extract(archive: tarfile.TarFile, destination: Path) -> None:
    # Debian's Python 3.11 may have no filters; our packages hold relative names of plain files only.
    for entry in archive:
        if not entry.isfile() or entry.name.startswith("/") or ".." in Path(entry.name).parts:
            raise ValueError(f"unexpected entry {entry.name!r} in the package")
        archive.extract(entry, destination)


def _systemctl(*arguments: str) -> None:
    subprocess.run(["systemctl", *arguments], check=True, timeout=SYSTEMCTL_TIMEOUT_S)


def _activate(config: ServiceConfig, unit: str) -> None:
    _systemctl("daemon-reload")
    _systemctl("enable", unit)
    if config.kind == "mobility":
        # Capture begins in the initramfs: the service has nothing to work with before the next boot.
        from lab.replication.mobility.boot import prepare

        disks = sorted(config.settings["disks"], key=lambda disk: int(disk["index"]))
        prepare([(disk["name"], disk["serial"]) for disk in disks], config.settings["change_log"]["serial"])
    else:
        _systemctl("restart", unit)


def main(arguments: list[str] | None = None) -> None:
    """Install, register and start a component."""
    parser = argparse.ArgumentParser(prog="lab.replication.install")
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--package", type=Path, required=True, help="the tar.gz this installer came in")
    parser.add_argument("--ca", type=Path, help="ca.pem of the configuration server")
    parser.add_argument("--passphrase-file", type=Path, help="pairing passphrase; without it nothing is registered")
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--no-start", action="store_true", help="only put the files in place")
    given = parser.parse_args(arguments)
    os.umask(0o077)
    installer = Installer(given.kind, given.root)
    digest = installer.unpack(given.package)
    config = installer.configure(given.config)
    if given.passphrase_file and given.ca:
        # Only a machine that is to be protected has to be a supported one.
        system = facts_of_this_machine().to_json() if given.kind == "mobility" else None
        ensure_identity(config, given.ca, given.passphrase_file, system)
    if given.kind == CONSOLE:
        installer.write_launcher()
    else:
        unit = installer.write_unit()
        if not given.no_start:
            _activate(config, unit)
    parser.exit(message=f"installed {given.kind} {digest}\n")


if __name__ == "__main__":
    main()
