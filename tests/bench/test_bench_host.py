"""Host rows: what is compared, what is left out and why, and one small turn on a real libvirt domain."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from libvirt_here import checkpoint_refusal

from lab.bench import host, host_peers
from lab.bench.host import (
    DELTA,
    DELTA_WIRE,
    INITIAL,
    INITIAL_TLS,
    QEMU_IMG,
    VIRTNBDBACKUP,
    Delta,
    Found,
    rows,
    sent_bytes,
)
from lab.bench.host_pair import URI
from lab.bench.unpacked import Program
from lab.errors import LabError

MIB = 1 << 20
REFUSAL = checkpoint_refusal(["nbdcopy"])


def test_rows_say_what_is_met() -> None:
    found = Found(
        plain=[(10.0, 8.0), (10.0, 9.0)],
        tls=[(10.0, 12.0)],
        virtnbdbackup=[(10.0, 29.0)],
        qemu_img=[(10.0, 8.0)],
        deltas=[Delta(1.0, 1.01), Delta(2.0, 1.02), Delta(9.0, 1.2)],
    )
    made = {row.name: row for row in rows(found)}
    assert list(made) == [INITIAL, INITIAL_TLS, VIRTNBDBACKUP, QEMU_IMG, DELTA, DELTA_WIRE]
    assert (made[INITIAL].ratio, made[INITIAL].goal, made[INITIAL].met) == (0.85, 0.8, True)
    assert (made[INITIAL_TLS].goal, made[INITIAL_TLS].met) == (None, None)
    assert (made[VIRTNBDBACKUP].ratio, made[VIRTNBDBACKUP].met) == (2.9, False)
    assert (made[QEMU_IMG].peer, made[QEMU_IMG].ratio, made[QEMU_IMG].goal, made[QEMU_IMG].met) == (8, 1.25, None, None)
    assert (made[DELTA].ours, made[DELTA].goal, made[DELTA].met, made[DELTA].n) == (2.0, 3.0, True, 3)
    assert (made[DELTA_WIRE].ours, made[DELTA_WIRE].met) == (1.02, True)


def test_what_was_not_measured_has_no_row() -> None:
    assert rows(Found([], [], [], [], [])) == []


def test_the_kernel_says_how_much_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, server.accept()[0] as other:
            client.sendall(bytes(1234))
            received = 0
            while received < 1234:
                received += len(other.recv(4096))
            assert sent_bytes(port) == 1234
    with pytest.raises(LabError, match="nobody"):
        sent_bytes(port)


def test_a_peer_that_cannot_be_had_leaves_its_row_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECOVERY_LAB_HOME", str(tmp_path))
    monkeypatch.setattr(host_peers, "VIRTNBDBACKUP", Program("virtnbdbackup", ("no-such-package-at-all",)))
    made, left_out = host.host(0, frozenset({VIRTNBDBACKUP}))
    assert made == []
    assert left_out.startswith(f"{VIRTNBDBACKUP} is left out: ")
    assert not (tmp_path / "bench" / "virtnbdbackup" / "complete").exists()


@pytest.mark.qemu
@pytest.mark.timeout(600)
@pytest.mark.skipif(REFUSAL is not None, reason=str(REFUSAL))
def test_a_small_turn_gives_every_row_and_leaves_nothing() -> None:
    before = set(Path("/var/tmp").glob("bench-host-*"))
    wanted = frozenset({INITIAL, INITIAL_TLS, QEMU_IMG, DELTA, DELTA_WIRE})
    made, left_out = host.host(1, wanted, host.Sizes(disk=64 * MIB, data=16 * MIB))
    assert left_out == ""
    assert {row.name for row in made} == wanted
    assert next(row for row in made if row.name == DELTA_WIRE).ours < 2
    import libvirt

    connection = libvirt.open(URI)
    assert not [domain for domain in connection.listAllDomains() if domain.name() == f"bench-host-{os.getpid()}"]
    connection.close()
    assert set(Path("/var/tmp").glob("bench-host-*")) <= before


class Pair:
    """A pair of which only the check is asked for; the copy did not happen."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.size = folder, MIB

    def compare(self, replica: Path) -> None:
        raise LabError(f"{replica.name} is not the machine's disk")


@pytest.mark.skipif(shutil.which("qemu-nbd") is None, reason="qemu-nbd is not installed")
def test_a_copy_that_did_not_happen_is_no_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "replicas").mkdir()
    monkeypatch.setattr(host_peers, "_backup", lambda machines: nullcontext("nbd+unix:///backup"))
    commands: list[list[str]] = []
    monkeypatch.setattr(host_peers, "_timed", lambda command, name: commands.append(command) or 0.1)
    with pytest.raises(LabError, match=r"peer\.qcow2 is not the machine's disk"):
        host_peers.qemu_img_seconds(Pair(tmp_path))  # type: ignore[arg-type]
    assert commands[0][:2] == ["qemu-img", "convert"]
    # Durable in the end, as nbdcopy's --flush is; the cache mode that convert has of itself does not promise that.
    assert commands[0][commands[0].index("-t") + 1] == "writeback"
    assert {"-n", "--target-is-zero", "-W"} <= set(commands[0])
    assert commands[0][-2] == "nbd+unix:///backup"
    assert list((tmp_path / "replicas").iterdir()) == []


def test_a_copy_over_its_time_limit_is_an_error_of_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_peers, "COPY_S", 0.1)
    with pytest.raises(LabError, match=r"nbdcopy did not end within 0\.1 s"):
        host_peers._timed([sys.executable, "-c", "import time; time.sleep(60)"], "nbdcopy")
