"""Defects of the configuration server: failover, test failover, failback, and what states allow."""

from __future__ import annotations

from lab.defects.model import Defect, Part, seeded

_STATES, _JOBS = "states", "jobs"
_FAILOVER, _FAILBACK, _TEST = "procedures.failover", "procedures.failback", "procedures.test_failover"


def control_defect(name: str, what: str, requirements: tuple[str, ...], *edits: tuple[str, str, str]) -> Defect:
    """Return a defect of the configuration server; ``edits`` are (module, old text, new text)."""
    placed = ((f"configuration_server.{module}", old, new) for module, old, new in edits)
    return seeded(Part.CONFIGURATION_SERVER, name, what, requirements, *placed)


CONFIGURATION_SERVER: tuple[Defect, ...] = (
    control_defect(
        "planned-failover-accepted",
        "a planned failover runs as an unplanned one",
        ("V2A-PFO-REFUSED", "LAB-REFUSAL"),
        (
            _JOBS,
            "        if refused is not None:\n",
            "        if refused is not None:\n            return Operation.FAILOVER\n        if not operation:\n",
        ),
    ),
    control_defect(
        "refusal-leaves-a-trace",
        "an operation that is refused leaves an event behind",
        ("LAB-REFUSAL",),
        (
            _JOBS,
            "        wanted, transition = self._checked(machine, operation, arguments)\n",
            "        self._events.add('asked', {'operation': operation}, machine=name)\n        wanted, transition = self._checked(machine, operation, arguments)\n",
        ),
    ),
    control_defect(
        "failover-after-commit",
        "a machine that is failed over and committed fails over again",
        ("V2A-FO-COMMIT", "LAB-REFUSAL"),
        (
            _STATES,
            "Operation.FAILOVER: (_FAILOVER, (State.PROTECTED, State.FAILOVER_FAILED))",
            "Operation.FAILOVER: (_FAILOVER, (State.PROTECTED, State.FAILOVER_FAILED, State.COMMIT_PENDING, State.FAILED_OVER))",
        ),
    ),
    control_defect(
        "protected-after-failover",
        "after an unplanned failover the machine is called protected",
        ("V2A-FO-COMMIT", "V2A-FB-REVERSE"),
        (
            _STATES,
            "_COMMIT = Transition(State.COMMIT_PENDING, State.FAILED_OVER,",
            "_COMMIT = Transition(State.COMMIT_PENDING, State.PROTECTED,",
        ),
    ),
    control_defect(
        "points-survive-commit",
        "after a commit recovery points can still be chosen",
        ("V2A-FO-COMMIT",),
        (_FAILOVER, "            workshop.sessions.forget_points(session.stream)\n", "            pass\n"),
        (
            "sessions",
            '            self.forget_points(stream)\n            self._database.write("UPDATE streams',
            '            self._database.write("UPDATE streams',
        ),
    ),
    control_defect(
        "test-failover-in-production",
        "the test machine gets the cards of the replica machine",
        ("LAB-TFO-ISOLATION",),
        (
            _TEST,
            "Order(machine, session, name, pick, _cards(machine, arguments))",
            "Order(machine, session, name, pick, machine.settings.replica_nics)",
        ),
    ),
    control_defect(
        "test-failover-stops-the-source",
        "a test failover switches the protected machine off",
        ("LAB-TFO-ISOLATION",),
        (
            _TEST,
            '        async with steps.step("remove-leftovers"):\n',
            '        await workshop.fabrics[machine.settings.primary_fabric].power(machine.name, "off")\n        async with steps.step("remove-leftovers"):\n',
        ),
    ),
    control_defect(
        "test-machine-left-behind",
        "the clean-up forgets the test machine and leaves it running",
        ("LAB-TFO-ISOLATION",),
        (
            _TEST,
            "            await self.workshop.targets.of_machine(machine).remove_machine(machine, machine.test_name)\n",
            "            pass\n",
        ),
    ),
    control_defect(
        "source-not-shut-down",
        "a failover that was told to shut the source down leaves it running",
        ("LAB-RPO", "V2A-UFO"),
        (
            _FAILOVER,
            '        await steps.attempt("shutdown-source", stop_machine(self.workshop.fabrics[home.fabric], home.name))\n',
            "        assert home\n",
        ),
    ),
    control_defect(
        "failover-without-drain",
        "a failover to the latest point does not wait for what the process server has",
        ("LAB-RPO", "LAB-FENCE"),
        (
            _FAILOVER,
            "        last = await workshop.end_replication(machine, session, selector, steps)\n",
            "        last = None\n",
        ),
    ),
    control_defect(
        "oldest-point-chosen",
        "the latest recovery point is the oldest one",
        ("LAB-RPO", "V2A-UFO"),
        ("selection", "    for point in reversed(points):\n", "    for point in points:\n"),
    ),
    control_defect(
        "failback-without-comparison",
        "the way back copies what is not zero over disks that are not blank",
        ("V2A-FB-REVERSE", "LAB-ZOMBIE"),
        (_FAILBACK, 'mode="copy" if new else "checksum",', 'mode="copy",'),
    ),
    control_defect(
        "reprotect-with-the-original-on",
        "the original machine keeps running while its disks are overwritten",
        ("V2A-FB-REVERSE",),
        (
            _FAILBACK,
            '            await fabric.power(home.name, "off")\n            await require_off(fabric, home.name)\n',
            "            pass\n",
        ),
    ),
    control_defect(
        "replica-runs-on-after-failback",
        "the replica machine is not stopped before the original starts",
        ("V2A-FB-UFO", "LAB-ZOMBIE"),
        (_FAILBACK, '        await steps.attempt("stop-replica-machine", stop)\n', "        stop.close()\n"),
    ),
    control_defect(
        "replica-stays-after-commit",
        "the commit of a failback leaves the replica machine",
        ("V2A-FB-COMMIT",),
        (
            _FAILBACK,
            "            await workshop.targets.of_machine(machine).remove_machine(machine, machine.replica_name)\n",
            "            pass\n",
        ),
    ),
    control_defect(
        "protected-after-failback",
        "after the commit of a failback the machine is called protected",
        ("V2A-FB-REENABLE",),
        (
            _STATES,
            "Transition(State.FAILBACK_COMMIT_PENDING, State.FAILED_BACK,",
            "Transition(State.FAILBACK_COMMIT_PENDING, State.PROTECTED,",
        ),
    ),
    control_defect(
        "disks-in-wrong-places",
        "the replica machine has its disks the other way round",
        ("V2S-MT-REPLICA", "V2A-FO-REPLICA"),
        ("targets.site_machines", '"serial": serials[disk.index]}', '"serial": serials[max(serials) - disk.index]}'),
    ),
    control_defect(
        "replica-not-started",
        "the replica machine is made and stays off",
        ("V2A-UFO", "V2A-FO-SINGLE"),
        ("targets.site_machines", '    await fabric.power(name, "on")\n', ""),
    ),
)
