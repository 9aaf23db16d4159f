"""Snapshots served to machines: right bytes, verified TLS, and the signature nowhere that others can look."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from logs import PAGE, STREAM

from conftest import needs_node
from lab.emulators.azurite.account import write_certificates
from lab.hypervisors.protocols import HypervisorError
from lab.replication.vault import exports
from lab.replication.vault.exports import NbdServers
from lab.replication.vault.storage import BlobSource

MIB = 1 << 20
missing = next((tool for tool in ("nbdkit", "qemu-img", "setpriv") if shutil.which(tool) is None), None)
pytestmark = [
    needs_node,
    pytest.mark.qemu,
    pytest.mark.skipif(
        missing is not None, reason=f"needs {missing}: apt-get install nbdkit nbdkit-plugin-python qemu-utils"
    ),
]


@pytest.fixture
def daemons(tmp_path: Path):
    daemons = NbdServers(tmp_path / "exports")
    yield daemons
    daemons.close()


@pytest.fixture
def source(azurite, open_azure) -> BlobSource:
    storage = open_azure(azurite)
    etag = storage.write(
        f"{STREAM}-0", MIB, b"old" * 171 + bytes(PAGE - 513 + PAGE), storage.create(f"{STREAM}-0", 4 * MIB)
    )
    snapshot = storage.snapshot(f"{STREAM}-0", etag, {})
    storage.write(f"{STREAM}-0", MIB, b"n" * PAGE, etag)
    return storage.source(f"{STREAM}-0", snapshot, 600)


def test_a_machine_reads_the_snapshot_and_nobody_reads_the_signature(daemons, source, tmp_path) -> None:
    served = daemons.serve("app1-replica", {"system": source})["system"]
    overlay, copy = tmp_path / "overlay.qcow2", tmp_path / "copy.raw"
    backing = f"nbd+unix:///{served.name}?socket={served.socket}"
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", backing, str(overlay)]
    subprocess.run(create, check=True, timeout=30)
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(overlay), str(copy)], check=True, timeout=60)
    content = copy.read_bytes()
    assert len(content) == 4 * MIB
    assert content[MIB : MIB + 513] == b"old" * 171
    assert not content[:MIB].strip(b"\0")
    secret = source.signature.rpartition("sig=")[2].partition("&")[0].encode()
    (process,) = daemons._processes["app1-replica"]
    assert secret not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert secret not in Path(f"/proc/{process.pid}/environ").read_bytes()
    assert secret not in overlay.read_bytes()
    assert secret not in (tmp_path / "exports" / "app1-replica" / "system.log").read_bytes()
    assert (served.socket.parent / "system.order").stat().st_mode & 0o077 == 0


def test_a_storage_of_another_authority_is_not_read(daemons, source, tmp_path) -> None:
    stranger = write_certificates(tmp_path / "stranger", ("127.0.0.1",)).ca
    with pytest.raises(HypervisorError) as refused:
        daemons.serve("app1-replica", {"system": BlobSource(source.url, source.signature, source.size, stranger)})
    assert "sig=" not in str(refused.value)
    assert daemons._processes == {}


def test_a_signature_that_is_wrong_gives_no_machine(daemons, source) -> None:
    with pytest.raises(HypervisorError):
        daemons.serve("app1-replica", {"system": BlobSource(source.url, "sig=wrong", source.size, source.ca_file)})


def test_what_is_served_ends_with_its_machine(daemons, source) -> None:
    daemons.serve("app1-test", {"system": source})
    (process,) = daemons._processes["app1-test"]
    daemons.end("app1-test")
    assert process.poll() is not None
    daemons.end("app1-test")


def test_a_read_waits_while_the_storage_is_away(daemons, source, azurite) -> None:
    served = daemons.serve("app1-replica", {"system": source})["system"]
    azurite.stop()
    export = f"nbd+unix:///{served.name}?socket={served.socket}"
    command = ["qemu-io", "-r", "-f", "raw", "-c", f"read -P 111 {MIB} 1", export]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as reading:
        with pytest.raises(subprocess.TimeoutExpired):
            reading.wait(1)
        azurite.start()
        shown, _ = reading.communicate(timeout=60)
    assert reading.returncode == 0, shown
    assert b"1/1 bytes" in shown


def test_a_read_that_is_tried_again_does_not_hold_up_the_end(daemons, source, azurite, monkeypatch) -> None:
    """Found by reading: nbdkit waits for reads, and one that paused between attempts had to be killed."""
    monkeypatch.setattr(exports, "END_S", 60.0)
    served = daemons.serve("app1-replica", {"system": source})["system"]
    (process,) = daemons._processes["app1-replica"]
    azurite.stop()
    command = ["qemu-io", "-r", "-f", "raw", "-c", f"read {MIB} 1", f"nbd+unix:///{served.name}?socket={served.socket}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as reading:
        with pytest.raises(subprocess.TimeoutExpired):
            reading.wait(3)
        daemons.end("app1-replica")
        reading.communicate(timeout=60)
    assert process.returncode == 0, "it was killed"
