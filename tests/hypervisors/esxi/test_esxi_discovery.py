"""The ESXi driver follows the inventory of its host."""

from contextlib import ExitStack

import pytest
from esxi_backends import READER, Emulated
from esxi_machines import MIB, SYSTEM, spec

from lab.hypervisors.esxi import EsxiHypervisor
from lab.hypervisors.model import PowerState, Sighting
from lab.hypervisors.protocols import (
    HypervisorError,
)
from lab.waiting import Deadline


def test_the_inventory_is_followed(host: Emulated, driver: EsxiHypervisor) -> None:
    driver.define(spec("m1"))
    foreign = host.driver("another")
    seen: list[tuple[Sighting, str, str, PowerState]] = []
    steps = iter(
        [
            lambda: driver.define(spec("m2")),
            lambda: foreign.define(spec("m9")) and driver.power_on("m2"),
            lambda: driver.site.session.wait(
                driver.site.find("m2").ref.Rename_Task("new name"), "rename", Deadline.after(5)
            ),
            lambda: driver.power_off("m2"),
            lambda: driver.undefine("m2"),
        ]
    )
    for event in driver.follow(Deadline.after(20)):
        seen.append((event.sighting, event.name, event.display_name, event.power))
        step = next(steps, None)
        if step is None:
            break
        step()
    on, off = PowerState.ON, PowerState.OFF
    assert seen == [
        (Sighting.APPEARED, "m1", "mine.m1", off),
        (Sighting.APPEARED, "m2", "mine.m2", off),
        (Sighting.CHANGED, "m2", "mine.m2", on),
        (Sighting.CHANGED, "m2", "new name", on),
        (Sighting.CHANGED, "m2", "new name", off),
        (Sighting.GONE, "m2", "new name", off),
    ]
    foreign.close()


def test_a_machine_that_went_while_the_session_was_away_is_told_as_gone(host: Emulated, driver: EsxiHypervisor) -> None:
    for name in ("m1", "m2"):
        driver.define(spec(name))
    other = host.driver("mine")
    seen: list[tuple[Sighting, str]] = []
    for event in driver.follow(Deadline.after(20)):
        seen.append((event.sighting, event.name))
        if len(seen) == 2:
            # Between two waits for updates: the next one is refused before it could tell.
            other.undefine("m1")
            host.emulator.sessions.expire_all()
        if len(seen) == 3:
            break
    assert seen == [(Sighting.APPEARED, "m1"), (Sighting.APPEARED, "m2"), (Sighting.GONE, "m1")]
    other.close()


def test_the_whole_inventory_is_told_after_every_change(driver: EsxiHypervisor) -> None:
    driver.define(spec("m2"))
    told: list[list[str]] = []
    for machines in driver.watch(Deadline.after(20)):
        names = [machine.name for machine in machines]
        if told[-1:] == [names]:
            continue
        told.append(names)
        if len(told) == 1:
            driver.define(spec("m1"))
        elif len(told) == 2:
            driver.undefine("m2")
        else:
            break
    assert told == [["m2"], ["m1", "m2"], ["m1"]]


def test_an_account_of_the_role_read_only_follows_and_changes_nothing(host: Emulated, driver: EsxiHypervisor) -> None:
    driver.define(spec("m1"))
    reader = host.driver("mine", user=READER.user, password=READER.password)
    assert [machine.name for machine in next(reader.watch(Deadline.after(20)))] == ["m1"]
    for change in (
        lambda: reader.power_on("m1"),
        lambda: reader.undefine("m1"),
        lambda: reader.create_disk(SYSTEM, MIB),
        lambda: reader.define(spec("m2")),
    ):
        with pytest.raises(HypervisorError, match="NoPermission"):
            change()
    assert driver.power("m1") is PowerState.OFF
    assert [machine.name for machine in driver.machines()] == ["m1"]
    assert driver.disks() == []
    reader.close()


def test_the_files_of_the_datastore_are_not_for_a_reader(tls: Emulated, stack: ExitStack) -> None:
    driver = tls.driver("mine")
    stack.callback(driver.close)
    driver.create_disk(SYSTEM, MIB)
    reader = tls.driver("mine", user=READER.user, password=READER.password)
    stack.callback(reader.close)
    flat = reader.site.names.flat_file(SYSTEM)
    with pytest.raises(HypervisorError, match="403"):
        reader.site.files.read(flat, 0, 512)
    # Refused before the body is read, so that the answer may not get through.
    with pytest.raises(HypervisorError, match=r"403|does not answer"):
        reader.site.files.write(flat, MIB, [b"x" * MIB])
    assert driver.site.files.read(flat, 0, 512) == bytes(512)


def test_following_ends_with_its_deadline(driver: EsxiHypervisor) -> None:
    assert list(driver.follow(Deadline.after(0.5))) == []
