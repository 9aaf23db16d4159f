"""The key of a saved lab changes with everything that the lab depends on, and with nothing else."""

import os
from pathlib import Path

import pytest

from lab.images.cache import Image
from lab.provision.home import Home
from lab.saved import inputs
from lab.saved.inputs import differing, inputs_of, key_of, why_not
from lab.topology.load import load_topology
from lab.topology.model import Topology

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
PLATFORM = {"qemu": "7.2.0", "libvirt": "9.0.0", "kernel": "6"}


class Host:
    def __init__(self, found: dict[str, str]) -> None:
        self.found = found

    @property
    def saving(self) -> "Host":
        return self

    def platform(self) -> dict[str, str]:
        return self.found

    def close(self) -> None:
        pass


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found = dict(PLATFORM)
    monkeypatch.setattr(inputs, "connect", lambda *_: Host(found))
    return found


@pytest.fixture
def images(tmp_path: Path) -> dict[tuple[str, int], Image]:
    disk = tmp_path / "image.raw"
    disk.write_bytes(b"image")
    return {("debian", 1): Image(disk, Path(), Path())}


def test_the_same_inputs_have_the_same_key(platform, images, embedded: Topology, home: Home) -> None:
    first, second = (inputs_of(embedded, home, images, "tcg") for _ in range(2))
    assert key_of(first) == key_of(second)
    assert differing(first, second) == []


def changed_image(platform, images, monkeypatch: pytest.MonkeyPatch) -> str:
    os.utime(images["debian", 1].disk, ns=(1, 1))
    return "images"


def changed_qemu(platform, images, monkeypatch: pytest.MonkeyPatch) -> str:
    platform["qemu"] = "7.2.1"
    return "qemu"


def changed_stack(platform, images, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(inputs, "stack_build", lambda: "another")
    return "stack"


def changed_harness(platform, images, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(inputs, "sources_digest", lambda *_: "another")
    return "harness"


def changed_format(platform, images, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(inputs, "FORMAT", 99)
    return "format"


@pytest.mark.parametrize("change", [changed_image, changed_qemu, changed_stack, changed_harness, changed_format])
def test_every_input_is_in_the_key(
    platform, images, embedded: Topology, home: Home, monkeypatch: pytest.MonkeyPatch, *, change
) -> None:
    before = inputs_of(embedded, home, images, "tcg")
    name = change(platform, images, monkeypatch)
    after = inputs_of(embedded, home, images, "tcg")
    assert differing(before, after) == [name]
    assert key_of(before) != key_of(after)


def test_the_acceleration_is_in_the_key(platform, images, embedded: Topology, home: Home) -> None:
    tcg, kvm = (inputs_of(embedded, home, images, mode) for mode in ("tcg", "kvm"))
    assert differing(tcg, kvm) == ["acceleration", "processor"]


def test_comments_are_not_in_the_key_and_memory_is(platform, images, home: Home, tmp_path: Path) -> None:
    text = (TOPOLOGIES / "embedded.yaml").read_text()
    keys = []
    for content in (text, f"# a comment\n{text}", text.replace("memory: 512 MiB", "memory: 640 MiB")):
        file = tmp_path / "t.yaml"
        file.write_text(content)
        keys.append(key_of(inputs_of(load_topology(file), home, images, "tcg")))
    assert keys[0] == keys[1] != keys[2]


def test_a_chosen_passphrase_is_in_the_key_and_not_to_be_read(
    platform, images, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (TOPOLOGIES / "embedded.yaml").read_text()
    file = tmp_path / "t.yaml"
    file.write_text(text.replace("{generate: true}", "{env: LAB_PASSPHRASE}"))
    found = []
    for word in ("first-word", "second-word"):
        monkeypatch.setenv("LAB_PASSPHRASE", word)
        found.append(inputs_of(load_topology(file), home, images, "tcg"))
        assert word not in str(found[-1])
    assert differing(*found) == ["passphrase"]


@pytest.mark.parametrize(
    ("topology", "reason"),
    [
        ("embedded", None),
        ("group", None),
        ("life", None),
        ("vmware-to-secondary", "libvirt"),
        ("vmware-to-azure", "libvirt"),
        ("azure-expressroute", "Azure|libvirt"),
        ("physical-to-azure", "Azure|libvirt"),
        ("physical-bmc", "physical machines are leased"),
        ("hyperv-to-secondary", "libvirt"),
    ],
)
def test_only_labs_that_are_nothing_but_machines_are_saved(topology: str, reason: str | None) -> None:
    found = why_not(load_topology(TOPOLOGIES / f"{topology}.yaml"))
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert any(word in found for word in reason.split("|"))


def test_a_session_and_an_adapter_that_cannot_go_on_are_not_saved(embedded: Topology) -> None:
    host = embedded.hosts["local"].model_copy(update={"uri": "qemu:///session"})
    assert "root" in (why_not(embedded.model_copy(update={"hosts": {"local": host}})) or "")
    stack = embedded.stack.model_copy(update={"adapter": "drbd"})
    assert "drbd" in (why_not(embedded.model_copy(update={"stack": stack})) or "")
