"""libvirt's command line as a bare one."""

from pathlib import Path

from lab.bench.bare_loading import bare_command

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
