"""The document that defines a machine in libvirt."""

from __future__ import annotations

from pathlib import Path

import pytest
from defusedxml import ElementTree

from lab.hypervisors.libvirt.xml import Placement, domain_xml
from lab.hypervisors.model import MachineSpec
from lab.hypervisors.translated import LEFT_OUT


def processor(domain_type: str) -> tuple[str, dict[str, str]]:
    spec = MachineSpec("app1", 1, 256, (), (), None)
    text = domain_xml(spec, Placement("a", domain_type, (), (), None, Path("/console")))
    cpu = ElementTree.fromstring(text).find("cpu")
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
