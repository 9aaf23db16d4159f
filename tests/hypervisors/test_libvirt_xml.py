"""The document that defines a machine in libvirt."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from defusedxml import ElementTree

from lab.hypervisors.libvirt.xml import (
    QCOW2,
    DiskFile,
    Placement,
    disk_element,
    domain_xml,
    going_on_document,
    volume_xml,
)
from lab.hypervisors.model import MachineSpec
from lab.hypervisors.translated import LEFT_OUT


def document(domain_type: str, cpus: int = 1) -> Element:
    spec = MachineSpec("app1", cpus, 256, (), (), None)
    return ElementTree.fromstring(domain_xml(spec, Placement("a", domain_type, (), (), None, Path("/console"))))


def processor(domain_type: str) -> tuple[str, dict[str, str]]:
    cpu = document(domain_type).find("cpu")
    return cpu.get("mode"), {feature.get("name"): feature.get("policy") for feature in cpu}


def test_a_translated_machine_lacks_what_is_slow_there() -> None:
    mode, features = processor("qemu")
    assert mode == "maximum"
    assert features == dict.fromkeys(LEFT_OUT, "disable")


@pytest.mark.parametrize("needed", ["svm", "aes"])
def test_nested_machines_and_encryption_keep_what_they_need(needed: str) -> None:
    assert needed not in processor("qemu")[1]


def test_with_acceleration_it_is_the_hosts_processor() -> None:
    assert processor("kvm") == ("host-passthrough", {})


@pytest.mark.parametrize(
    ("domain_type", "cpus", "room"), [("qemu", 1, "2"), ("qemu", 4, "4"), ("kvm", 1, "1"), ("kvm", 2, "2")]
)
def test_a_translated_machine_has_room_for_a_second_processor(domain_type: str, cpus: int, room: str) -> None:
    vcpu = document(domain_type, cpus).find("vcpu")
    assert (vcpu.text, vcpu.get("current")) == (room, str(cpus))


@pytest.mark.parametrize("how", [{"kind": QCOW2}, {"backing": Path("/image")}])
def test_a_qcow2_disk_can_keep_the_bitmap_of_a_checkpoint(how: dict[str, Any]) -> None:
    """Version 2, which libvirt makes unless it is told, cannot: no machine of a host was ever replicated."""
    volume = ElementTree.fromstring(volume_xml("app1-data.img", 1 << 20, **how))
    assert volume.findtext("target/compat") == "1.1"
    assert volume.find("target/format").get("type") == QCOW2


def test_a_raw_disk_has_no_version() -> None:
    assert ElementTree.fromstring(volume_xml("app1-data.img", 1 << 20)).find("target/compat") is None


@pytest.mark.parametrize(("flushed", "cache"), [(False, "unsafe"), (True, None)])
def test_a_flush_leaves_the_hosts_memory_only_where_its_power_is_cut(flushed: bool, cache: str | None) -> None:
    driver = disk_element(DiskFile(Path("/disks/data.img"), "raw", "data", flushed=flushed), "vda").find("driver")
    assert driver is not None
    assert driver.get("cache") == cache


@pytest.mark.parametrize("domain_type", ["qemu", "kvm"])
def test_libvirt_does_not_ask_for_every_property_of_a_processor_also_where_one_goes_on(domain_type: str) -> None:
    goes_on = ElementTree.fromstring(going_on_document(document(domain_type), Path("/memory")))
    for domain in (document(domain_type), goes_on):
        left_out = domain.findall("{*}capabilities/{*}del")
        assert [element.get("capability") for element in left_out] == ["cpu-unavailable-features"]
