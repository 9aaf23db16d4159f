"""What QEMU is told: the guest finds disks and images by serials, and cards lead where they should."""

import json
from pathlib import Path

import pytest

from lab.emulators.esxi.backend import CardPlug, DiskPlug, Hardware, ImagePlug, SwitchLink, UserLink
from lab.emulators.esxi.disk_files import chain, create_flat, write_descriptor
from lab.emulators.esxi.qemu.arguments import card_device, machine_arguments, netdev
from lab.hypervisors.translated import PROCESSOR
from lab.networks.protocol import StreamWiring, TapWiring


def arguments(tmp_path: Path, acceleration: str = "tcg") -> list[str]:
    disk = tmp_path / "d.vmdk"
    base = create_flat(disk, 1 << 20)
    overlay = tmp_path / "d-000001.vmdk"
    write_descriptor(overlay, base.size_bytes, disk, base.uuid)
    hardware = Hardware(
        identity="7",
        cpus=2,
        memory_mib=64,
        disks=(DiskPlug(2000, overlay, "system"),),
        cards=(CardPlug(4000, "52:54:00:00:00:01", None),),
        images=(ImagePlug(tmp_path / "seed,1.iso", "lab-seed"),),
        console=tmp_path / "a,b.log",
    )
    return machine_arguments(hardware, [chain(overlay)], [], acceleration)


def test_disks_and_images_carry_their_serials_and_the_first_disk_is_booted(tmp_path: Path) -> None:
    words = arguments(tmp_path)
    devices = [json.loads(word) for word in words if word.startswith('{"driver": "virtio-blk')]
    assert [(device["serial"], device.get("bootindex")) for device in devices] == [("system", 1), ("lab-seed", None)]


def test_an_overlay_stands_on_its_parent_whatever_a_header_says(tmp_path: Path) -> None:
    nodes = [json.loads(word) for word in arguments(tmp_path) if word.startswith('{"driver": "qcow2"')]
    assert nodes[1]["backing"] == nodes[0]["node-name"]
    assert nodes[0]["data-file"]["filename"] == str(tmp_path / "d-flat.vmdk")
    assert nodes[0]["data-file"]["cache"] == nodes[0]["file"]["cache"] == {"no-flush": True}


def test_an_image_is_read_only_and_a_comma_in_a_path_is_no_option(tmp_path: Path) -> None:
    words = arguments(tmp_path)
    [image] = [json.loads(word) for word in words if '"raw"' in word]
    assert (image["read-only"], image["file"]["filename"]) == (True, str(tmp_path / "seed,1.iso"))
    assert f"file,id=console,append=on,path={tmp_path}/a,,b.log" in words


@pytest.mark.parametrize(("acceleration", "cpu"), [("tcg", PROCESSOR), ("kvm", "host")])
def test_the_processor_fits_the_acceleration(tmp_path: Path, acceleration: str, cpu: str) -> None:
    words = arguments(tmp_path, acceleration)
    assert words[words.index("-cpu") + 1] == cpu


def test_cards_lead_to_a_switch_to_loopback_or_nowhere() -> None:
    mac = "52:54:00:00:00:01"
    switched, user, loose = (
        CardPlug(4000, mac, link) for link in (SwitchLink("primary"), UserLink(20001, restricted=True), None)
    )
    tap, stream = netdev(switched, TapWiring("lt1")), netdev(switched, StreamWiring(Path("/s")))
    assert tap is not None
    assert stream is not None
    assert (tap["ifname"], stream["addr"]["path"]) == ("lt1", "/s")
    end = netdev(user, None)
    assert end is not None
    assert (end["restrict"], end["hostfwd"]) == (True, [{"str": "tcp:127.0.0.1:20001-:22"}])
    assert netdev(loose, None) is None
    assert "netdev" not in card_device(loose)
