"""libvirt's command line as a bare one, and a bare process that loads."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.bench.bare_loading import Loading, bare_command, load
from lab.waiting import Deadline

NATIVE = (
    "LC_ALL=C HOME=/x /usr/bin/qemu-system-x86_64 -name guest=bench.m1,debug-threads=on -S "
    """-object '{"qom-type":"secret","id":"masterKey0"}' -machine pc-i440fx-7.2,memory-backend=pc.ram """
    "-chardev socket,id=charmonitor,path=/x/monitor.sock,server=on,wait=off -mon chardev=charmonitor,id=monitor "
    """-netdev '{"type":"tap","fd":"30","id":"hostnet0"}' """
    "-object memory-backend-file,mem-path=/m,share=off,id=lab-memory,size=64K -incoming defer "
    "-sandbox on,spawn=deny -msg timestamp=on"
)


def test_what_only_libvirt_can_use_is_replaced_and_the_rest_stays() -> None:
    assert bare_command(NATIVE, Path("/run/m1.monitor"), "m1") == [
        "/usr/bin/qemu-system-x86_64",
        *("-name", "guest=bench.m1,debug-threads=on"),
        *("-machine", "pc-i440fx-7.2,memory-backend=pc.ram"),
        *("-chardev", "socket,id=charmonitor,path=/run/m1.monitor,server=on,wait=off"),
        *("-mon", "chardev=charmonitor,id=monitor"),
        *("-netdev", '{"type": "tap", "id": "hostnet0", "ifname": "m1-t0", "script": "no", "downscript": "no"}'),
        *("-object", "memory-backend-file,mem-path=/m,share=off,id=lab-memory,size=64K"),
        *("-incoming", "defer"),
        *("-msg", "timestamp=on"),
    ]


def serve(listener: socket.socket, listens: threading.Event, heard: list[str]) -> None:
    """Answer as QEMU's monitor does, once it is time to listen."""
    listens.wait(2)
    listener.listen()
    listener.settimeout(2)
    while "cont" not in heard:
        connection, _ = listener.accept()
        with connection, connection.makefile("rw") as stream:
            stream.write('{"QMP": {}}\n')
            stream.flush()
            for line in stream:
                heard.append(json.loads(line)["execute"])
                stream.write('{"return": {"status": "completed"}}\n')
                stream.flush()


def test_a_monitor_whose_socket_is_there_and_does_not_listen_yet_is_waited_for(tmp_path: Path) -> None:
    heard: list[str] = []
    listens = threading.Event()
    ssh = SimpleNamespace(wait_ready=lambda deadline: heard.append("login"))
    machine = Loading("m1", (), tmp_path / "monitor", tmp_path / "state", ssh)  # type: ignore[arg-type]
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(2) as pool:
        listener.bind(str(machine.monitor))
        server = pool.submit(serve, listener, listens, heard)
        loads = pool.submit(load, machine, Deadline.after(10))
        with pytest.raises(TimeoutError):
            loads.result(timeout=0.2)
        listens.set()
        loads.result(timeout=10)
        server.result(timeout=10)
    assert [word for word in heard if word != "qmp_capabilities"][-4:] == [
        "migrate-incoming",
        "query-migrate",
        "cont",
        "login",
    ]
