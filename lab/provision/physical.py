"""The physical machines of a lab that comes up: their stand-ins, their installation beside the others, their leases."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from lab.errors import LabError
from lab.hypervisors.protocols import HypervisorError
from lab.images.cache import Image, ImageCache
from lab.images.identity import SshKey
from lab.provision.blueprint import Blueprint
from lab.provision.board import Board
from lab.provision.home import Home, LabFolder
from lab.provision.install import OverMedia, Source, install_machine
from lab.provision.lab import Lab
from lab.provision.media import served
from lab.provision.netboot import serving_netboot
from lab.provision.processes import spawn
from lab.provision.stand_in import make_stand_in, media_of
from lab.provision.state import LabState, save_state
from lab.topology.model import Topology


def with_stand_ins(topology: Topology, folder: LabFolder, state: LabState, board: Board) -> LabState:
    """Make the stand-ins of physical machines, and remember each before the next: the reaper has to find them.

    Raises:
        LabError: libvirt refused, or an emulated BMC did not start.
    """
    for name in topology.physical:
        board.step(name, "BMC")
        try:
            access = make_stand_in(topology, name, folder, state.acceleration)
        except HypervisorError as error:
            raise LabError(str(error)) from error
        state = state.model_copy(update={"physical": {**state.physical, name: access}})
        save_state(folder, state)
    return state


@contextmanager
def installing(
    lab: Lab,
    plans: Sequence[Blueprint],
    keys: Mapping[str, SshKey],
    *,
    images: Mapping[tuple[str, int], Image],
    home: Home,
    board: Board,
) -> Iterator[dict[Future[None], str]]:
    """Install machines beside what the block does, which waits for these jobs; then keep their leases fresh."""
    if not plans:
        yield {}
        return
    cache, folder = ImageCache(home.images), media_of(lab.folder)
    with (
        served(folder) as url,
        serving_netboot(lab.topology, lab.folder) as over_network,
        ThreadPoolExecutor(len(plans), thread_name_prefix="install") as pool,
    ):
        jobs: dict[Future[None], str] = {}
        for plan in plans:
            image = images[plan.image, plan.disk_sizes[plan.spec.disks[0].disk]]
            source = Source(image, cache.stream(image))
            way = over_network.get(plan.name) or OverMedia(plan.name, folder, url)
            jobs[pool.submit(install_machine, lab, plan, keys[plan.name], source, way=way, board=board)] = plan.name
        yield jobs
    argv = [sys.executable, "-m", "lab.provision.lease_keeper", "--lab", lab.folder.name]
    spawn(lab.folder, "lease-keeper", [*argv, "--folder", str(lab.folder.path)], os.environ)
