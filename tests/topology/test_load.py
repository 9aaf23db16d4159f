"""Every mistake in a topology file is found, at its line, with all the others."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import BadInput
from lab.topology.load import load_topology
from lab.topology.machines import Purpose
from lab.topology.model import Topology

ROOT = Path(__file__).parents[2]
EMBEDDED = (ROOT / "topologies" / "embedded.yaml").read_text()
GROUP = (ROOT / "topologies" / "group.yaml").read_text()

Edited = Callable[..., list[str]]


@pytest.fixture
def errors(tmp_path: Path) -> Edited:
    """Load a topology that has what is edited, the embedded one if it does, and return the error lines."""

    def load(*edits: tuple[str, str]) -> list[str]:
        text = EMBEDDED if edits[0][0] in EMBEDDED else GROUP
        for old, new in edits:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "lab.yaml"
        path.write_text(text)
        with pytest.raises(BadInput) as caught:
            load_topology(path)
        return [line.removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()]

    return load


def embedded() -> Topology:
    return load_topology(ROOT / "topologies" / "embedded.yaml")


def test_embedded_topology_is_understood() -> None:
    topology = embedded()
    assert topology.name == "embedded"
    assert topology.source.name == "embedded.yaml"
    assert topology.machines["app1"].memory == 384 * 2**20
    assert topology.machines["app1"].disks[0].purpose is Purpose.SYSTEM
    assert topology.stack.policies["standard"].retention == 7200
    assert topology.stack.protect["app1"] == topology.stack.protect["app2"]


def test_digest_ignores_comments_and_sees_values(tmp_path: Path) -> None:
    same, other = tmp_path / "same.yaml", tmp_path / "other.yaml"
    same.write_text(EMBEDDED + "\n# a comment\n")
    other.write_text(EMBEDDED.replace("cpus: 1", "cpus: 2", 1))
    assert load_topology(same).digest == embedded().digest
    assert load_topology(other).digest != embedded().digest


CASES = [
    ("image: debian", "image: debain", "there is no image 'debain', did you mean 'debian'?"),
    ("site: primary", "site: primery", "there is no site 'primery', did you mean 'primary'?"),
    ("primary: {host: local}", "primary: {host: locl}", "there is no host 'locl', did you mean 'local'?"),
    ("policy: standard", "policy: standart", "there is no policy 'standart', did you mean 'standard'?"),
    (
        "adapter: reference",
        "adapter: reference\n  master_targets: {mt9: {}}",
        "there is no master target 'mt9', did you",
    ),
    ("roles: [process-server, master-target]", "roles: [process-server, master-target, console]", "console-elsewhere"),
    ("{network: bubble,", "{network: buble,", "there is no network 'buble', did you mean 'bubble'?"),
    ("{machine: app1,", "{machine: ap1,", "there is no machine 'ap1', did you mean 'app1'?"),
    ("machines: [app1, app2]}", "machines: [app1, apx2]}", "there is no machine 'apx2', did you mean 'app2'?"),
    ("members: [app1, app2]", "members: [app1, app3]", "there is no protected machine 'app3', did you mean"),
    ("process_server: ps1", "process_server: mt1", "mt1 does not have role 'process-server'"),
    ("roles: [protected]", "roles: [protectd]", "did you mean 'protected'?"),
    ("scenario: P2S", "scenario: P2X", "did you mean"),
    ("address: 10.10.0.11", "address: 10.11.0.11", "10.11.0.11 is outside 10.10.0.0/24 of network 'primary'"),
    ("address: 10.10.0.11", "address: 10.10.0.12", "10.10.0.12 on primary belongs to app1 already"),
    ("address: 10.20.0.31", "address: 10.20.0.11", "belongs to the replica of app1 already"),
    ("address: 10.10.0.21", "address: 10.10.0.255", "is not an address for a machine"),
    ("via: 10.10.0.21", "via: 10.30.0.21", "via 10.30.0.21 is not on network 'primary'"),
    ("- machines: [app2]", "- machines: [app1]", "machine 'app1' is named 2 times"),
    ("- machines: [app2]", "- machines: [app3]", "there is no protected machine 'app3', did you mean"),
    ("script: note-start,", "script: note-strat,", "there is no script 'note-strat', did you mean 'note-start'?"),
    ("rpo_threshold: 60 s", "rpo_threshold: 10 s", "the threshold is shorter than the recovery point interval"),
    (
        "retention: 2 h",
        "retention: 2 h\n      application_consistent_interval: 2 h",
        "the application-consistent interval has to be less than retention",
    ),
    (
        "retention: 2 h",
        "retention: 2 h\n      application_consistent_interval: 5 s",
        "the application-consistent interval is shorter than the recovery point interval",
    ),
    (
        "retention: 2 h",
        "retention: 2 h\n      pruning: [{after: 1 h, one_per: 10 min}, {after: 90 min, one_per: 15 min}]",
        "with a multiple of its period",
    ),
    ("{script: note-start, timeout: 60 s}", "{timeout: 60 s}", "an action is {script: NAME} or {manual: TEXT}"),
    ("purpose: change-log", "purpose: data", "app1 is protected and needs one disk of purpose 'change-log'"),
    ("{name: changes,", "{name: data,", "disk 'data' is named 2 times"),
    (
        "{name: data, size: 256 MiB, purpose: data, filesystem: ext4, mount: /data}\n      - {name: changes,",
        "{name: a-name-of-thirty-letters-a, size: 256 MiB, purpose: data}\n      - {name: a-name-of-thirty-letters-b,",
        "serial number (the beginning of its name) 'a-name-of-thirty-let' is named 2 times",
    ),
    ("{name: system, size: 900 MiB, purpose: system}", "{name: system, size: 1 GiB, purpose: cache}", "exactly one"),
    ("size: 900 MiB", "size: 900 MB", "should be a size such as '1200 MiB'"),
    ("retention: 2 h", "retention: 2 hours", "should be a duration such as '15 s'"),
    ("retention: 2 h", "retention: 1 s", "retention is shorter than the recovery point interval"),
    ("master_target_port: 9444", "master_target_port: 9443", "the two data ports have to differ"),
    ("master_target: mt1", "master_target: ps1", "is at the site of the machine it protects"),
    ("cpus: 1", "cpu: 1", "'cpu' is not a key of machines.app1, did you mean 'cpus'?"),
    ("    image: debian\n", "", "'image' is missing in machines.app1"),
    ("kind: switch, subnet: 10.30", "kind: swich, subnet: 10.30", "did you mean 'switch'?"),
    ("{recipe: debian-12}", "{url: debian-12}", "an image is {recipe: NAME} or {path: FILE.qcow2}"),
    ("{network: management}", "{network: management, address: 10.0.0.1}", "neither address nor routes"),
    ("  app2:\n    site", "  app1:\n    site", "'app1' stands here twice"),
    ("roles: [configuration-server, master", "roles: [master", "needs a machine with role 'configuration-server'"),
    ("filesystem: ext4, mount: /data", "mount: /data", "a disk with 'mount' needs 'filesystem'"),
    ("topology: embedded", "topology: [", "not YAML"),
    ("app1: &protection", "App_1: &protection", "is not a name"),
]


@pytest.mark.parametrize(("old", "new", "message"), CASES, ids=[case[2][:40] for case in CASES])
def test_a_mistake_is_named(errors: Edited, old: str, new: str, message: str) -> None:
    lines = errors((old, new))
    assert any(message in line for line in lines), lines
    assert all(line.startswith("lab.yaml:") for line in lines)


def test_error_names_the_line(errors: Edited) -> None:
    number = next(n for n, line in enumerate(EMBEDDED.splitlines(), 1) if "image: debian" in line)
    assert errors(("image: debian", "image: debain"))[0].startswith(f"lab.yaml:{number}: ")


def test_all_errors_come_at_once(errors: Edited) -> None:
    lines = errors(
        ("image: debian", "image: debain"), ("cpus: 1", "cpus: 1\n    cpuz: 1"), ("policy: standard", "policy: x")
    )
    assert len([line for line in lines if "debain" in line or "cpuz" in line or "policy 'x'" in line]) >= 3


def test_a_literal_secret_is_refused_and_not_repeated(errors: Edited) -> None:
    lines = errors(("{generate: true}", "hunter2-hunter2"))
    assert "by reference" in lines[0]
    assert "hunter2" not in "\n".join(lines)


def test_merge_keys_and_loops_are_errors(errors: Edited) -> None:
    assert any("merge keys" in line for line in errors(("app2: *protection", "app2: {<<: *protection}")))


@pytest.mark.parametrize("content", ["", "just text", "- a list", "\x00"])
def test_a_file_that_is_no_mapping(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(content)
    with pytest.raises(BadInput, match=r"lab\.yaml:1: "):
        load_topology(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        load_topology(tmp_path / "no.yaml")


@pytest.mark.requirement("GEN-V2S-HOST", "V2S-ESX")
def test_a_vmware_machine_is_on_an_esxi_host(errors: Edited) -> None:
    found = errors(("scenario: P2S", "scenario: V2S"))
    assert [line.partition("not-on-esxi: ")[2] for line in found] == [
        f"{name} of scenario V2S is on a host of kind 'libvirt'; a host of kind 'esxi' is expected"
        for name in ("app1", "app2")
    ]


def test_a_vcenter_is_emulated_or_asked(errors: Edited) -> None:
    real = 'local: {kind: esxi, endpoint: "https://x", certificate: x.pem, vcenter: true}'
    [line] = errors(('local: {kind: libvirt, uri: "qemu:///system"}', real))
    assert "'vcenter' is for an emulated esxi host" in line
