"""What a VMM server knows: a cloud, a template, jobs that run beside the caller, a view of machines that grows old."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lab.emulators.hyperv.errors import CmdletError
from lab.emulators.hyperv.host import Host
from lab.emulators.hyperv.machine import VirtualMachine
from lab.emulators.hyperv.powershell.values import Unsupported
from lab.hypervisors.model import PowerState

CLOUD, TEMPLATE = "Lab Cloud", "recovery-lab empty"
STATUS = {PowerState.ON: "Running", PowerState.OFF: "PowerOff", PowerState.PAUSED: "Paused"}
WORKERS = 4


@dataclass
class Job:
    """A change that VMM makes; ``result`` says why it failed."""

    id: uuid.UUID
    name: str
    owner: str
    status: str = "Running"
    result: str = ""

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.status != "Running"


class Manager:
    """The state of VMM beside that of its only host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.cloud, self.template = uuid.uuid4(), uuid.uuid4()
        self.in_cloud: set[uuid.UUID] = set()
        self.jobs: list[Job] = []
        self._seen: dict[uuid.UUID, str] = {}
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="vmm-job")

    def identity(self, machine: VirtualMachine) -> uuid.UUID:
        """Return VMM's own id of a machine, which is not Hyper-V's."""
        return uuid.uuid5(self.cloud, str(machine.id))

    def status(self, machine: VirtualMachine) -> str:
        """Return the status as VMM last saw it: what happens without VMM it learns at the next refresh."""
        return self._seen.setdefault(machine.id, STATUS[self._host.power(machine)])

    def refresh(self, machine: VirtualMachine) -> None:
        """Look at a machine."""
        self._seen[machine.id] = STATUS[self._host.power(machine)]

    def begin(self, name: str, work: Callable[[], None], *, wait: bool, ended: threading.Event) -> Job:
        """Start a job; with ``wait`` return when it has ended, or when the caller's command is cancelled."""
        job = Job(uuid.uuid4(), name, self._host.name)
        self.jobs.append(job)
        future = self._pool.submit(self._run, job, work)
        while wait and not job.done and not ended.is_set():
            try:
                future.result(timeout=0.2)
            except TimeoutError:
                continue
        return job

    def close(self) -> None:
        """Begin no further job."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _run(job: Job, work: Callable[[], None]) -> None:
        try:
            work()
        except (CmdletError, Unsupported) as error:
            job.result, job.status = str(error), "Failed"
        except BaseException:
            job.result, job.status = "EMULATOR BUG", "Failed"
            raise
        else:
            job.status = "Completed"
