"""An emulated host over TLS or in process, and a raw pyVmomi client."""

import base64
import http.client
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyVmomi import vim

from lab.emulators.esxi.emulator import Emulator, Settings
from lab.emulators.esxi.memory import MemoryBackend
from lab.emulators.esxi.server import EsxiServer
from lab.emulators.esxi.sessions import Account
from lab.emulators.esxi.stub import InProcessStub

USER, PASSWORD = "root", "secret"
Device = vim.vm.device


class Client:
    """A logged-in pyVmomi client of an emulator in this process."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.stub = InProcessStub(emulator)
        self.content = vim.ServiceInstance("ServiceInstance", self.stub).RetrieveContent()
        self.content.sessionManager.Login(USER, PASSWORD)
        self.datacenter = self.content.rootFolder.childEntity[0]
        self.folder = self.datacenter.vmFolder
        self.compute = self.datacenter.hostFolder.childEntity[0]
        self.pool = self.compute.resourcePool

    def result(self, task: Any) -> Any:
        """Wait for a task as unmodified clients do."""
        from pyVim.task import WaitForTask

        WaitForTask(task, si=vim.ServiceInstance("ServiceInstance", self.stub))
        return task.info.result

    def create(self, name: str = "a", *devices: Any, **fields: Any) -> Any:
        files = vim.vm.FileInfo(vmPathName="[datastore1]")
        spec = vim.vm.ConfigSpec(name=name, memoryMB=64, numCPUs=1, files=files, deviceChange=list(devices), **fields)
        return self.result(self.folder.CreateVM_Task(spec, self.pool))


def controller(key: int = -1) -> Any:
    device = Device.ParaVirtualSCSIController(key=key, busNumber=0, sharedBus="noSharing")
    return Device.VirtualDeviceSpec(operation="add", device=device)


def new_disk(size_kib: int = 8192, unit: int | None = None, controller_key: int = -1, file: str = "") -> Any:
    backing = Device.VirtualDisk.FlatVer2BackingInfo(fileName=file, diskMode="persistent", thinProvisioned=True)
    device = Device.VirtualDisk(
        key=-2, controllerKey=controller_key, unitNumber=unit, capacityInKB=size_kib, backing=backing
    )
    return Device.VirtualDeviceSpec(operation="add", fileOperation="create", device=device)


def card(network: str) -> Any:
    backing = Device.VirtualEthernetCard.NetworkBackingInfo(deviceName=network)
    return Device.VirtualDeviceSpec(operation="add", device=Device.VirtualVmxnet3(key=-9, backing=backing))


@contextmanager
def emulator(home: Path, **settings: Any) -> Iterator[Emulator]:
    found = Emulator(Settings(Account(USER, PASSWORD), **settings), home, MemoryBackend())
    try:
        yield found
    finally:
        found.close()


@contextmanager
def server(home: Path, **settings: Any) -> Iterator[EsxiServer]:
    with emulator(home, **settings) as found:
        serving = EsxiServer(found, home).start()
        try:
            yield serving
        finally:
            serving.close()


def ask(
    serving: EsxiServer, method: str, path: str, body: bytes | None = None, *, login: bool = True, **headers: str
) -> tuple[int, bytes, Any]:
    """Send one HTTP request, with the password unless told otherwise."""
    if login:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    context = ssl.create_default_context(cafile=serving.certificate)
    connection = http.client.HTTPSConnection("127.0.0.1", serving.port, timeout=20, context=context)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()
