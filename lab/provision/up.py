"""Bringing a lab up: identities, disks, machines side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from lab.doctor.acceleration import acceleration
from lab.errors import LabError
from lab.hypervisors.libvirt import connect
from lab.hypervisors.protocols import Hypervisor, HypervisorError
from lab.hypervisors.routed import RoutedHypervisor
from lab.images.cache import Image
from lab.images.identity import SshKey, new_ssh_key
from lab.images.seed import write_seed
from lab.provision import esxi, hyperv, nested
from lab.provision.blueprint import Blueprint, blueprint
from lab.provision.board import Board
from lab.provision.boot import boot_in_time, end_boots
from lab.provision.down import tear_down
from lab.provision.home import Home, LabFolder
from lab.provision.identity import machine_identity
from lab.provision.images import provide_images
from lab.provision.lab import Lab
from lab.provision.lent import join_uplinks, take_lent
from lab.provision.physical import installing, with_stand_ins
from lab.provision.state import LabState, Phase, load_state, save_state
from lab.topology.facts import Acceleration
from lab.topology.hosts import Host, LibvirtHost
from lab.topology.machines import Machine
from lab.topology.model import Topology

PUSH_KEY = "push"
ESXI, HYPERV, LIBVIRT = "esxi", "hyperv", "libvirt"


def bring_up(topology: Topology, home: Home, name: str, board: Board, *, save_as: str = "") -> Lab:
    """Make the lab and wait until every machine lets us log in.

    A lab of this name that was left half made is reaped first. On an error the machines that came up keep running, so
    that the caller can look at them before it tears down.

    Args:
        topology: which machines.
        home: where its files are.
        name: of the lab.
        board: told about every step.
        save_as: the key under which it is to be saved later; its machines are made so that they can be.

    Raises:
        LabError: the lab is up already, an image did not build, a machine never booted.
    """
    folder = home.lab(name)
    esxi_host, hyperv_host = esxi.esxi_host_of(topology), hyperv.hyperv_host_of(topology)
    refuse_or_reap(home, folder, board)
    images = provide_images(topology, home, board)
    mode = acceleration_of(home, images)
    board.step(name, f"acceleration: {mode}")
    folder.make()
    keys = {machine: new_ssh_key(machine) for machine in topology.machines if topology.loan_of(machine) is None}
    _write_login_keys(folder)
    host_keys = {machine: key.public for machine, key in keys.items()}
    host_keys |= {machine: found.host_key for machine, found in topology.lent.items()}
    state = first_state(topology, name, mode, host_keys).model_copy(update={"save_as": save_as})
    save_state(folder, state)
    state = take_lent(topology, folder, state, board)
    if esxi_host is not None:
        board.step(name, f"host: {esxi_host.where}")
        state = state.model_copy(update={"esxi": esxi.access_to(esxi_host, topology, folder, mode)})
        save_state(folder, state)
    if hyperv_host is not None:
        board.step(name, f"host: {hyperv_host.where}")
        state = state.model_copy(update={"hyperv": hyperv.access_to(hyperv_host, topology, folder, mode)})
        save_state(folder, state)
    state = with_stand_ins(topology, folder, state, board)
    join_uplinks(topology, folder)
    hypervisor = open_hypervisor(state, home)
    lab = Lab(topology, folder, state, hypervisor)
    _make_machines(lab, keys, images, board, home)
    lab.state = state.model_copy(update={"phase": Phase.UP})
    save_state(folder, lab.state)
    return lab


def first_state(topology: Topology, name: str, acceleration: str, host_keys: dict[str, str]) -> LabState:
    """Return the state of a lab of which nothing exists yet."""
    return LabState(
        lab=name,
        topology=topology.source.resolve(),
        topology_digest=topology.digest,
        host_uris=tuple(sorted(topology.libvirt_uris)),
        acceleration=acceleration,
        phase=Phase.STARTING,
        host_keys=host_keys,
        on_libvirt=tuple(
            name for name, machine in topology.machines.items() if isinstance(_host(topology, machine), LibvirtHost)
        ),
        inside=nested.inside(topology),
        nested_hosts=tuple(nested.hosts_of(topology)),
        management=nested.management_network(topology),
    )


def open_lab(home: Home, name: str, topology: Topology) -> Lab:
    """Return a lab that is up. Raises LabError when it is not."""
    state = load_state(home.lab(name))
    if state is None or state.phase is not Phase.UP:
        raise LabError(f"lab {name} is not up", hint="lab up FILE")
    return Lab(topology, home.lab(name), state, open_hypervisor(state, home))


def open_hypervisor(state: LabState, home: Home) -> Hypervisor:
    """Open the driver of a lab. Raises LabError with the cure."""
    try:
        managed = _open_managed(state, home)
        if managed is not None and not state.host_uris:
            return managed
        libvirt = connect(state.host_uris[0], state.lab, home.labs, state.acceleration)
        if managed is None:
            return nested.with_hosts(libvirt, state, home)
        return RoutedHypervisor({_managed(state): managed, LIBVIRT: libvirt}, place_of(state))
    except HypervisorError as error:
        raise LabError(str(error)) from error


def _open_managed(state: LabState, home: Home) -> Hypervisor | None:
    """Open the host of a lab that is not libvirt's, None when it has none."""
    if state.esxi is not None:
        return esxi.open_esxi(state.esxi, state.lab, home.labs)
    if state.hyperv is not None:
        return hyperv.open_hyperv(state.hyperv, state.lab, home.labs)
    return None


def _managed(state: LabState) -> str:
    return HYPERV if state.hyperv is not None else ESXI


def place_of(state: LabState) -> Callable[[str], str | None]:
    """Return where machines and disks are made; a disk is named after its machine, MACHINE-DISK."""

    def place(name: str) -> str | None:
        fitting = [machine for machine in state.host_keys if name == machine or name.startswith(f"{machine}-")]
        if not fitting:
            return None
        return LIBVIRT if max(fitting, key=len) in state.on_libvirt else _managed(state)

    return place


def refuse_if_up(folder: LabFolder) -> None:
    """Raise LabError when the lab is up: whoever made it may still need it."""
    state = load_state(folder)
    if state is not None and state.phase is Phase.UP:
        raise LabError(f"lab {folder.name} is up already", hint=f"lab down {folder.name}, or another --name")


def _host(topology: Topology, machine: Machine) -> Host:
    return topology.hosts[machine.host or topology.sites[machine.site].host]


def refuse_or_reap(home: Home, folder: LabFolder, board: Board) -> None:
    """Remove what an earlier run left behind. Raises LabError for a lab that is up."""
    refuse_if_up(folder)
    state = load_state(folder)
    if state is not None or folder.path.exists():
        board.step(folder.name, "reaping what an earlier run left behind")
        tear_down(home, folder.name, board)


def acceleration_of(home: Home, images: dict[tuple[str, int], Image]) -> str:
    """Return "kvm" or "tcg", proved by booting once."""
    kernels = [image for image in images.values() if image.kernel.is_file()]
    image = kernels[0] if kernels else None
    answer = acceleration(home.folder, image.kernel if image else None, image.initrd if image else None)
    return str(answer.value)


def _write_login_keys(folder: LabFolder) -> None:
    for purpose in (folder.login_key.name, PUSH_KEY):
        key = new_ssh_key(f"recovery-lab-{folder.name}-{purpose}")
        path = folder.login_key.parent / purpose
        path.touch(mode=0o600)
        path.write_text(key.private, encoding="ascii")
        path.with_suffix(".pub").write_text(key.public + "\n", encoding="ascii")


def _make_machines(
    lab: Lab, keys: dict[str, SshKey], images: dict[tuple[str, int], Image], board: Board, home: Home
) -> None:
    """Make all machines, those inside of others once these are up."""
    plans = [blueprint(lab.topology, name) for name in lab.topology.machines if name not in lab.state.lent]
    disks = {plan.name: images[plan.image, plan.disk_sizes[plan.spec.disks[0].disk]].disk for plan in plans}
    inner = lab.state.inside
    plans = [
        replace(plan, spec=replace(plan.spec, media=nested.media(lab.topology, plan.name, disks))) for plan in plans
    ]
    physical = [plan for plan in plans if plan.name in lab.state.physical]
    first = [plan for plan in plans if plan.name not in {*inner, *lab.state.physical}]
    with installing(lab, physical, keys, images=images, home=home, board=board) as jobs:
        _make_wave(lab, first, keys, disks, board, beside=jobs)
    if inner:
        lab.hypervisor = nested.with_hosts(lab.hypervisor, lab.state, home)
        _make_wave(lab, [plan for plan in plans if plan.name in inner], keys, disks, board, beside={})


def _make_wave(
    lab: Lab,
    plans: list[Blueprint],
    keys: dict[str, SshKey],
    disks: dict[str, Path],
    board: Board,
    *,
    beside: Mapping[Future[None], str],
) -> None:
    """Make machines side by side, and wait for the jobs ``beside`` them too."""
    with ThreadPoolExecutor(len(plans), thread_name_prefix="up") as pool:
        for plan in plans:
            board.step(plan.name, "defining")
            _define(lab, plan, keys[plan.name], disks[plan.name])
        jobs = {pool.submit(_start, lab, plan.name, board): plan.name for plan in plans}
        try:
            raise_all({**beside, **jobs}, lab.folder.name)
        except KeyboardInterrupt:
            board.step(lab.folder.name, "interrupted: switching off what boots")
            end_boots(jobs, [lab.machine(plan.name) for plan in plans])
            raise


def _define(lab: Lab, plan: Blueprint, key: SshKey, image: Path) -> None:
    seed = lab.folder.seeds / f"{plan.name}.iso"
    write_seed(machine_identity(lab, plan, key), seed)
    try:
        system, *others = plan.spec.disks
        lab.hypervisor.import_disk(system.disk, image, plan.disk_sizes[system.disk])
        for attachment in others:
            lab.hypervisor.create_disk(attachment.disk, plan.disk_sizes[attachment.disk])
        lab.hypervisor.define(replace(plan.spec, seed=str(seed), saveable=bool(lab.state.save_as)))
    except HypervisorError as error:
        raise LabError(str(error)) from error


def _start(lab: Lab, name: str, board: Board) -> None:
    machine = lab.machine(name)
    board.step(name, "booting")
    try:
        boot_in_time(machine, Acceleration(lab.state.acceleration), board)
    except HypervisorError as error:
        board.step(name, "failed")
        raise LabError(f"machine {name}: {error}") from error
    except LabError:
        board.step(name, "failed")
        raise
    board.step(name, "ready")


def raise_all(jobs: dict[Future[None], str], lab: str) -> None:
    """Wait for all; report every machine that failed, not only the first."""
    failures = [error for job in as_completed(jobs) if (error := job.exception()) is not None]
    strange = [error for error in failures if not isinstance(error, LabError)]
    if strange:
        raise ExceptionGroup("machines failed", [error for error in failures if isinstance(error, Exception)])
    if failures:
        raise LabError(
            "\n".join(str(error) for error in failures),
            hint=f"machines keep running: lab status, lab ssh MACHINE --name {lab}; end: lab down {lab}",
        )
