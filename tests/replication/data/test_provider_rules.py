from __future__ import annotations

import itertools
import ssl
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_provider_crashes import order

from lab.replication.common.control import CommandFailed
from lab.replication.common.link import Unreachable
from lab.replication.common.storage_access import StorageAccess
from lab.replication.mobility.capture import CapturedDisk
from lab.replication.mobility.hrl_files import HrlPlaces
from lab.replication.provider.capture import _pieces
from lab.replication.provider.domains import TAG, Guest, GuestCard, GuestDisk, cards_of, guest_xml
from lab.replication.provider.frozen import united
from lab.replication.provider.images import ImageFolders
from lab.replication.provider.libvirt_machine import backup_xml, checkpoint_xml
from lab.replication.provider.nbd_client import Area
from lab.replication.provider.order import HostOrder, HostSession
from lab.replication.provider.retry import GivenUp, RetryPauses, is_recoverable
from lab.replication.provider.tracking import MachineMissing

AREAS = st.lists(st.builds(lambda s, n: Area(s, s + n), st.integers(0, 200), st.integers(1, 30)), max_size=20)


@given(AREAS)
def test_united_areas_cover_the_same_bytes_without_touching(areas):
    found = list(united(areas))
    assert {b for a in areas for b in range(a.start, a.end)} == {b for a in found for b in range(a.start, a.end)}
    assert all(one.end < two.start for one, two in itertools.pairwise(found))


@given(AREAS, st.integers(1, 16))
def test_pieces_touch_every_area_once_and_nothing_else(areas, length):
    found = list(_pieces(united(areas), length))
    assert found == sorted({b // length * length for a in areas for b in range(a.start, a.end)})


def arguments(**more):
    value = {
        "stream": "s-1",
        "machine": "app1",
        "disks": [{"index": 0, "serial": "system"}],
        "interval_s": 300,
        "mode": "copy",
        "receiver": {"address": "10.0.0.1", "port": 8084},
    }
    return {**value, **more}


@pytest.mark.parametrize("interval", [30, 300, 900])
def test_the_three_copy_frequencies_are_taken(interval):
    assert HostOrder.from_json(arguments(interval_s=interval)).interval_s == interval


@pytest.mark.parametrize("interval", [0, 15, 29.5, 60, 301, 3600])
def test_other_copy_frequencies_are_refused(interval):
    with pytest.raises(CommandFailed, match="30, 300, 900") as refused:
        HostOrder.from_json(arguments(interval_s=interval))
    assert refused.value.kind == "copy-frequency"


def test_a_group_across_machines_is_refused():
    with pytest.raises(CommandFailed) as refused:
        HostOrder.from_json(arguments(group={"name": "shop"}))
    assert refused.value.kind == "not-supported"


def test_an_order_survives_being_stored_with_either_destination():
    storage = StorageAccess("https://a.blob/c", "sig=secret", 5, "pem")
    for given_order in (order(), order(start_at_ns=7, application_interval_s=3600.0)):
        session = HostSession(given_order, "copy", 3, completed=True, given_up="why")
        assert HostSession.from_json(session.to_json()) == session
    taken = HostOrder.from_json(
        {**{k: v for k, v in arguments().items() if k != "receiver"}, "storage": storage.to_json()}
    )
    assert HostOrder.from_json(taken.to_json()) == taken
    assert "secret" not in repr(taken)
    with pytest.raises(ValueError, match="one of receiver and storage"):
        HostOrder.from_json({**arguments(), "storage": storage.to_json()})


def test_pauses_are_those_of_the_retry_class():
    class Recorder(threading.Event):
        def __init__(self):
            super().__init__()
            self.waited = []

        def wait(self, timeout=None):
            self.waited.append(timeout)
            return False

    stop = Recorder()
    pauses = RetryPauses(stop, 60)
    for _ in range(7):
        assert pauses.pause()
    pauses.reset()
    pauses.pause()
    assert [seconds / 60 for seconds in stop.waited] == [1, 2, 4, 8, 10, 30, 30, 1]


def test_a_stop_ends_a_pause_at_once():
    stop = threading.Event()
    stop.set()
    began = time.monotonic()
    assert not RetryPauses(stop, 60).pause()
    assert time.monotonic() - began < 5


def test_what_trying_again_does_not_cure():
    wrong_peer = Unreachable("TLS")
    wrong_peer.__cause__ = ssl.SSLCertVerificationError("unknown CA")
    for hopeless in (wrong_peer, GivenUp("403"), MachineMissing("gone")):
        assert not is_recoverable(hopeless)
    for passing in (Unreachable("refused"), OSError(28, "no space"), TimeoutError()):
        assert is_recoverable(passing)


def disk(index, folder="/images"):
    return CapturedDisk(index, f"vd{'ab'[index]}", Path(folder) / f"{index}.qcow2", 4096)


def test_a_backup_and_its_checkpoint_are_of_the_same_disks():
    disks = [disk(0), disk(1)]
    backup = ET.fromstring(backup_xml(disks, ["vdc"], "c0", Path("/w/a b")))
    checkpoint = ET.fromstring(checkpoint_xml(disks, ["vdc"], "c1"))
    assert backup.findtext("incremental") == "c0"
    wanted = {d.get("name"): d.get("backup") == "yes" for d in backup.iterfind("disks/disk")}
    named = {d.get("name"): d.get("checkpoint") == "bitmap" for d in checkpoint.iterfind("disks/disk")}
    assert wanted == named == {"vda": True, "vdb": True, "vdc": False}
    assert ET.fromstring(backup_xml(disks, [], None, Path("/w"))).find("incremental") is None


def test_a_guest_carries_the_tag_and_cannot_smuggle_xml():
    guest = Guest("app1-test", "app1", "test'><x/>", 1, 256, (GuestDisk(Path("/a&b.qcow2"), "s<1"),), ())
    root = ET.fromstring(guest_xml(guest, "qemu", Path("/c.log")))
    tag = root.find(f"metadata/{{{TAG}}}machine")
    assert (tag.get("of"), tag.get("purpose")) == ("app1", "test'><x/>")
    assert root.find("devices/disk/source").get("file") == "/a&b.qcow2"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden"])
def test_a_guest_cannot_have_a_name_that_leads_elsewhere(name):
    with pytest.raises(CommandFailed, match="no name of a machine"):
        Guest(name, "app1", "failback", 1, 256, (), ())


def test_a_network_that_the_host_does_not_have_is_refused():
    cards = [{"network": "lan", "mac": "52:54:00:00:00:01"}]
    assert cards_of(cards, {"lan": "br0"}) == (GuestCard("br0", "52:54:00:00:00:01"),)
    with pytest.raises(CommandFailed, match="known are wan"):
        cards_of(cards, {"wan": "br1"})


@pytest.mark.parametrize("place", ["/etc/passwd", "../outside.qcow2", "inside/../../outside.qcow2", "link.qcow2"])
def test_images_outside_of_the_folders_are_not_found(tmp_path, place):
    folder = tmp_path / "images"
    folder.mkdir()
    (tmp_path / "outside.qcow2").touch()
    (folder / "link.qcow2").symlink_to(tmp_path / "outside.qcow2")
    (folder / "mine.qcow2").touch()
    folders = ImageFolders([folder])
    assert folders.find(str(folder / "mine.qcow2")) == folder / "mine.qcow2"
    assert folders.find(str(folder / place)) is None


@pytest.mark.parametrize("name", ["../x", "a/b", "", "A"])
def test_names_of_images_are_checked(tmp_path, name):
    with pytest.raises(CommandFailed):
        ImageFolders([tmp_path]).replica(name, "system")


def test_logs_of_two_streams_in_one_folder_are_told_apart(tmp_path):
    mine, other = HrlPlaces(tmp_path, {0: tmp_path}, "s-1-"), HrlPlaces(tmp_path, {0: tmp_path}, "s-11-")
    mine.path(3, 0).touch()
    other.path(4, 0).touch()
    assert [number for number, _ in mine.found()] == [3]
    assert [number for number, _ in other.found()] == [4]


def test_a_vmm_server_runs_a_provider_without_a_hypervisor(tmp_path):
    from lab.replication.common.config import ServiceConfig
    from lab.replication.provider.__main__ import build
    from lab.replication.provider.coordinator import Coordinator

    config = ServiceConfig.from_json(
        {
            "kind": "provider",
            "name": "vmm1",
            "configuration_server": {"address": "127.0.0.1", "port": 443},
            "identity_dir": str(tmp_path),
            "state_dir": str(tmp_path),
            "addresses": [],
            "manages_only": True,
        }
    )
    component = build(config, None)
    assert isinstance(component, Coordinator)
    assert not component.handlers()
