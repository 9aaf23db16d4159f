"""Every block of a machine's disks, file systems and boot disk included, is explained by one instant.

Two to four minutes without acceleration: both disks are read twice on the machine and once where their copies are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import pytest

from fixtures.stacks import Protected
from fixtures.whole_devices import Observed, observe
from fixtures.workloads import Workload
from lab.oracle.device.digests import WIDTH
from lab.oracle.device.judge import DeviceEvidence, DeviceVerdict, judge_devices
from lab.stacks.protocol import Stack
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_agent, pytest.mark.needs_secondary_site]

TOLERANCE_NS = 20_000_000
"""For a wall clock that NTP slews while the disks are read."""
POINT_SECONDS = 300.0
NEVER_WRITTEN = bytes(WIDTH)


@dataclass(frozen=True)
class Judged:
    """What was observed, and the verdict on it."""

    observed: Observed
    verdict: DeviceVerdict


@pytest.fixture(scope="module")
def judged(stack: Stack, primary_role: Protected, workloads: dict[str, Workload]) -> Judged:
    """The primary role's disks while its workload writes."""
    workload = workloads[primary_role.name]
    observed = observe(stack, primary_role, workload)
    newest = workload.wait_beyond(0)
    stack.wait_recovery_point(primary_role.name, newest.acknowledged_ns, Deadline.after(POINT_SECONDS))
    return Judged(observed, judge_devices(observed.evidence))


@pytest.mark.requirement("LAB-POINT-IN-TIME", "V2S-DELTA", "V2S-MT-SECONDARY")
def test_one_instant_explains_every_block_of_all_disks(
    judged: Judged,
    primary_role: Protected,
    evidence: EvidenceRecorder,
    record_measurement: Callable[..., None],
) -> None:
    verdict = judged.verdict
    evidence.attach("whole-devices.json", json.dumps(asdict(verdict), indent=1))
    told = 100 * (1 - verdict.untold / verdict.blocks)
    context = f"{primary_role.name}: {verdict.blocks} blocks, {verdict.written} written, {verdict.untold} untold"
    record_measurement("whole-devices-told", told, "%", context=context)
    assert witnesses(judged.observed.evidence), "no block tells times apart, so this proves nothing"
    assert verdict.sound, verdict.findings[:10]


@pytest.mark.requirement("LAB-POINT-LABEL")
def test_the_instant_is_that_of_a_recovery_point(judged: Judged, stack: Stack, primary_role: Protected) -> None:
    of = judged.observed.clocks.monotonic_of
    distances = [
        judged.verdict.distance_ns(of(point.begin_ns), of(point.end_ns))
        for point in stack.recovery_points(primary_role.name)
    ]
    assert min(distances) <= TOLERANCE_NS, f"the nearest point is {min(distances) / 1e6:.1f} ms away"


@pytest.mark.requirement("LAB-NEGATIVE-CONTROL")
def test_one_block_of_another_time_is_found(judged: Judged) -> None:
    found = witnesses(judged.observed.evidence)
    name, block = min(found, key=found.__getitem__)
    original = judged.observed.evidence[name]
    for digest in (original.before[block], NEVER_WRITTEN):
        copy = replace(original, copy=original.copy.replaced(block, digest))
        verdict = judge_devices({**judged.observed.evidence, name: copy})
        assert not verdict.sound, f"block {block} of {name} holds {digest.hex()}, and nobody notices"


def witnesses(evidence: Mapping[str, DeviceEvidence]) -> dict[tuple[str, int], int]:
    """Return the blocks that were written once and are new in the copy, and when each write was answered (ns)."""
    times: dict[tuple[str, int], list[int]] = {}
    for name, device in evidence.items():
        for write in device.writes:
            for block in range(write.first, write.last + 1):
                times.setdefault((name, block), []).append(write.acked_ns or device.bracket.end_ns)
    return {
        (name, block): acked[0]
        for (name, block), acked in times.items()
        if len(acked) == 1
        and evidence[name].bracket.begin_ns < acked[0]
        and evidence[name].copy[block] == evidence[name].after[block] != evidence[name].before[block]
    }
