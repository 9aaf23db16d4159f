"""``lab emulate``: emulated products by hand, in the foreground."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from lab.commands.terminal import console
from lab.emulators.common.home import CannotStart
from lab.emulators.common.process import Found, serve_until_signal
from lab.errors import BadInput, LabError
from lab.provision.home import Home

LOCAL = "local"


def register(app: typer.Typer) -> None:
    """Add the commands of this family."""
    family = typer.Typer(help="Start an emulated product in the foreground.", no_args_is_help=True)
    family.command()(esxi)
    family.command()(hyperv)
    family.command()(bmc)
    family.callback()(_emulate)
    app.add_typer(family, name="emulate")


def _emulate() -> None:
    """Start an emulated product in the foreground."""


def esxi(
    host: Annotated[str, typer.Option(help="Where its machines run: only 'local', QEMU on this machine.")] = LOCAL,
    home: Annotated[Path | None, typer.Option(help="Folder of its datastore, certificate and password.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0: any free one.")] = 0,
    lab: Annotated[str, typer.Option(help="Lab whose networks its port groups LAB.NETWORK are.")] = "",
    password_file: Annotated[Path | None, typer.Option(help="File with root's password.")] = None,
    *,
    vcenter: Annotated[bool, typer.Option("--vcenter", help="A vCenter with one host.")] = False,
    free_licence: Annotated[bool, typer.Option("--free-licence", help="Refuse every change.")] = False,
) -> None:
    """Start an emulated ESXi host or vCenter; it ends with Ctrl-C, and its machines with it."""
    from lab.emulators.esxi.backend import BackendError
    from lab.emulators.esxi.run import Choices, serving
    from lab.emulators.esxi.service import Licence
    from lab.home import home as lab_home

    cache = lab_home()
    mode = _acceleration(host, cache)
    licence = Licence.FREE if free_licence else Licence.FULL
    choices = Choices(
        home or cache / "emulated-esxi", mode, port, lab, vcenter, licence, password_file, Home.default().labs
    )

    _serve(serving(choices), failure=BackendError)


def hyperv(
    host: Annotated[str, typer.Option(help="Where its machines run: only 'local', libvirt on this machine.")] = LOCAL,
    home: Annotated[Path | None, typer.Option(help="Folder of its files, certificate and password.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0: any free one.")] = 0,
    lab: Annotated[str, typer.Option(help="Lab whose tag its machines carry, and whose networks are there.")] = "",
    *,
    uri: Annotated[str, typer.Option(help="libvirt that has the machines.")] = "",
    password_file: Annotated[Path | None, typer.Option(help="File with the administrator's password.")] = None,
    vmm: Annotated[bool, typer.Option("--vmm", help="A VMM server answers on the same host.")] = False,
) -> None:
    """Start an emulated Hyper-V host; it ends with Ctrl-C, and its machines and disks with it."""
    from lab.emulators.hyperv.backend import BackendError
    from lab.emulators.hyperv.run import Choices, Serving, serving
    from lab.home import home as lab_home

    cache = lab_home()
    choices = Choices(
        home=home or cache / "emulated-hyperv",
        acceleration=_acceleration(host, cache),
        port=port,
        lab=lab,
        uri=uri,
        store=Home.default().labs if lab else None,
        password_file=password_file,
        vmm=vmm,
    )

    def exchange(found: Serving) -> list[str]:
        return [f"exchange:    {found.exchange} is C:\\recovery-lab\\exchange"]

    _serve(serving(choices), exchange, failure=BackendError)


def bmc(
    lab: Annotated[str, typer.Option(help="Lab whose machines in libvirt are behind it.")],
    machine: Annotated[str, typer.Option(help="The one machine behind it; without: all of the lab.")] = "",
    home: Annotated[Path | None, typer.Option(help="Folder of its state, certificate and password.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0: any free one.")] = 0,
    *,
    uri: Annotated[str, typer.Option(help="libvirt that has the machines.")] = "",
    password_file: Annotated[Path | None, typer.Option(help="File with admin's password.")] = None,
    ipmi: Annotated[
        bool, typer.Option("--ipmi", help="Power by IPMI too, which gives a password's hash away.")
    ] = False,
) -> None:
    """Start an emulated BMC (Redfish) in front of machines of a lab; it ends with Ctrl-C, they stay as they are."""
    from lab.emulators.bmc.ipmi import CONSOLE
    from lab.emulators.bmc.run import Choices, Serving, serving
    from lab.home import home as lab_home

    own = home or lab_home() / "emulated-bmc"
    choices = Choices(own, lab, machine, port, uri, password_file, Home.default().labs, ipmi=ipmi)

    def systems(found: Serving) -> list[str]:
        power = [f"ipmi:        127.0.0.1 port {found.ipmi_port} (UDP)"] if found.ipmi_port else []
        return [f"system:      {system} is {name}" for name, system in found.systems.items()] + [
            *power, f"console:     {CONSOLE}",
        ]  # fmt: skip

    _serve(serving(choices), systems)


def _serve(
    serving: AbstractContextManager[Found],
    more: Callable[[Found], list[str]] = lambda _: [],
    *,
    failure: type[Exception] = CannotStart,
) -> None:
    """Serve in the foreground and say where; ``more`` are lines of one product. Raises LabError when it cannot."""

    def ready(found: Found) -> None:
        lines = [
            f"url:         {found.url}",
            f"certificate: {found.certificate}",
            f"user:        {found.user}",
            f"password:    in {found.password_source}",
            *more(found),
            "end: Ctrl-C",
        ]
        console().print("\n".join(lines), markup=False)

    try:
        serve_until_signal(serving, ready)
    except (CannotStart, failure) as error:
        raise LabError(str(error)) from error


def _acceleration(host: str, cache: Path) -> str:
    """Return how machines of an emulated host run here. Raises BadInput for another place than this machine."""
    from lab.doctor.acceleration import assess
    from lab.doctor.facts import newest_kernel

    if host != LOCAL:
        raise BadInput(f"--host is {LOCAL}, not {host!r}: an emulated host's machines run on this machine")
    return assess(cache, *newest_kernel([cache, Path("/boot")])).acceleration.value
