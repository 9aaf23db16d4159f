"""The support matrices: what they say of machines, and that the two targets have one each."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.replication.support.facts import PROBE, SystemFacts, facts_of_this_machine, parse_os_release, read_probe
from lab.replication.support.matrix import (
    AZURE,
    GIB,
    HYPER_V_GUEST,
    HYPER_V_HOST,
    SECONDARY_SITE,
    UnknownMatrix,
    load_matrix,
)

GOOD = SystemFacts("debian", "12", "6.1.0-13-amd64", "x86_64", "bios")
OS_RELEASE = """PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
# a comment = nothing
ID=debian
VERSION_ID="12"
BROKEN="never ends
"""


def test_what_is_supported_is_not_refused():
    for target in (SECONDARY_SITE, AZURE):
        assert load_matrix(target).refusal_of(GOOD) is None
        assert load_matrix(target).refusal_of_disks([900 << 20, 256 << 20]) is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"system": "windows"}, "system 'windows'"),
        ({"version": "13"}, "version '13'"),
        ({"kernel": "5.19.99"}, "kernel '5.19.99'"),
        ({"kernel": "unknown"}, "kernel 'unknown'"),
        ({"architecture": "aarch64"}, "architecture 'aarch64'"),
        ({"firmware": "uefi"}, "firmware 'uefi'"),
    ],
)
def test_each_fact_alone_is_a_reason(change, named):
    facts = SystemFacts.from_json({**GOOD.to_json(), **change})
    refusal = load_matrix(SECONDARY_SITE).refusal_of(facts)
    assert refusal is not None
    assert named in refusal
    assert str(facts) in refusal
    assert "debian 12 with kernel 6.1 or later, x86_64, bios" in refusal


@given(st.tuples(*(st.integers(0, 20) for _ in range(3))))
def test_kernels_are_compared_as_numbers(numbers):
    kernel = ".".join(map(str, numbers)) + "-2-amd64"
    refused = load_matrix(SECONDARY_SITE).refusal_of(SystemFacts.from_json({**GOOD.to_json(), "kernel": kernel}))
    assert (refused is None) == (numbers >= (6, 1))


@pytest.mark.requirement("GEN-P2S-OS")
def test_the_matrix_of_a_secondary_site_is_not_that_of_azure():
    site, azure = load_matrix(SECONDARY_SITE), load_matrix(AZURE)
    large, many = [10_000 * GIB], [GIB] * 20
    assert site.refusal_of_disks(large) is None
    assert "target azure" in str(azure.refusal_of_disks(large))
    assert azure.refusal_of_disks(many) is None
    assert "at most 16" in str(site.refusal_of_disks(many))


@pytest.mark.requirement("GEN-H2A-HOST")
def test_of_a_machine_with_nothing_in_it_system_and_hardware_count_and_no_kernel():
    for target in (HYPER_V_GUEST, AZURE, SECONDARY_SITE):
        matrix = load_matrix(target)
        assert matrix.refusal_of_guest_system("debian", "12") is None
        assert "version '11' of debian" in str(matrix.refusal_of_guest_system("debian", "11"))
        assert matrix.refusal_of_hardware("x86_64", "bios") is None
        assert "firmware 'uefi'" in str(matrix.refusal_of_hardware("x86_64", "uefi"))


@pytest.mark.requirement("GEN-H2A-HOST")
def test_a_host_may_boot_by_uefi_and_has_to_be_one_of_the_matrix():
    hosts = load_matrix(HYPER_V_HOST)
    for change, named in (
        ({"firmware": "uefi"}, None),
        ({"version": "11"}, "version '11'"),
        ({"kernel": "5.10"}, "5.10"),
    ):
        refusal = hosts.refusal_of(SystemFacts.from_json({**GOOD.to_json(), **change}))
        assert (refusal is None) if named is None else (named in str(refusal))


def test_an_unknown_target_names_those_that_there_are():
    with pytest.raises(UnknownMatrix, match="azure, hyper-v-guest, hyper-v-host, secondary-site"):
        load_matrix("../secondary-site")


def test_a_probe_of_this_machine_says_what_the_machine_says_itself():
    done = subprocess.run(PROBE, capture_output=True, text=True, check=False, timeout=20)
    assert read_probe(done.stdout) == facts_of_this_machine()


def test_os_release_is_read_as_the_shell_would():
    assert parse_os_release(OS_RELEASE) == {
        "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)",
        "ID": "debian",
        "VERSION_ID": "12",
    }


@given(st.text())
def test_whatever_a_machine_answers_is_read_and_refused_at_most(text):
    facts = read_probe(text)
    assert SystemFacts.from_json(facts.to_json()) == facts
    load_matrix(SECONDARY_SITE).refusal_of(facts)
