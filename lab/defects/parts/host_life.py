"""Defects of what is done with machines that are replicated from their host: to another site, to Azure, and back."""

from __future__ import annotations

from functools import partial

from lab.defects.model import Defect, Part, seeded

_CS = "configuration_server"
_PLANNED, _FROM_AZURE = f"{_CS}.procedures.planned", f"{_CS}.procedures.from_azure"
_STATES, _SETUP = f"{_CS}.states", f"{_CS}.host_setup"
_COMPARED = '            await workshop.start_replication(machine, session, policy, mode="checksum", cards=())\n'
_hosts = partial(seeded, Part.HOSTS)

TO_SITE: tuple[Defect, ...] = (
    _hosts(
        "no-planned-failover-of-hosts",
        "a planned failover is refused for machines that are replicated from their host too",
        ("H2S-PFO", "H2A-PFO", "H2S-FO-SINGLE", "H2A-FO-SINGLE"),
        (
            _STATES,
            "_HOST_MOVES = {**_MOVES, Operation.PLANNED_FAILOVER: (_FAILOVER, (State.PROTECTED, State.FAILOVER_FAILED))}",
            "_HOST_MOVES = {**_MOVES}",
        ),
    ),
    _hosts(
        "last-changes-not-taken",
        "a planned failover does not ask for what the machine wrote last",
        ("H2S-PFO-ZERO", "H2A-PFO-ZERO"),
        (
            _PLANNED,
            "        last = await hosts.drain(session, final=True)\n",
            "        last = await hosts.drain(session)\n",
        ),
    ),
    _hosts(
        "last-point-not-awaited",
        "a planned failover does not wait until the last changes are a recovery point",
        ("H2S-PFO-ZERO",),
        (_PLANNED, "        await workshop.published(session, last)\n", "        pass\n"),
    ),
    _hosts(
        "planned-failover-leaves-unprotected",
        "after a planned failover to a site nothing is replicated",
        ("H2S-PFO-PROT",),
        (_STATES, "        moves[State.FAILED_OVER] = State.PROTECTED_REVERSE\n", "        pass\n"),
    ),
    _hosts(
        "protected-after-any-failover",
        "after the commit of an unplanned failover the machine is called protected",
        ("H2S-UFO-UNPROT", "H2S-COMMIT"),
        (
            _STATES,
            "(State.FAILED_BACK, Operation.REPROTECT): _AGAIN}",
            "(State.FAILED_BACK, Operation.REPROTECT): _AGAIN, _COMMITTED: _CALLED_PROTECTED}",
        ),
        (
            _STATES,
            "_AGAIN = Transition(",
            """_COMMITTED = (State.COMMIT_PENDING, Operation.COMMIT)
_CALLED_PROTECTED = Transition(State.COMMIT_PENDING, State.PROTECTED_REVERSE, State.COMMIT_PENDING)
_AGAIN = Transition(""",
        ),
    ),
    _hosts(
        "unplanned-failover-asks-its-host",
        "an unplanned failover needs the host that is gone",
        ("H2S-UFO", "H2A-UFO"),
        (
            f"{_CS}.procedures.parts",
            "        if selector.wants_all_data and session.source is None:\n",
            "        if selector.wants_all_data:\n",
        ),
    ),
    _hosts(
        "replica-disks-of-a-host-stay",
        "a commit leaves the replica disks, and with them the points of before",
        ("H2S-COMMIT",),
        (
            f"{_CS}.targets.host",
            '        async with steps.step("delete-replica-disks"):\n            await self._delete_disks(machine)\n',
            "",
        ),
    ),
    _hosts(
        "reverse-replication-goes-forward",
        "reverse replication sends from the site that is not active",
        ("H2S-RR", "H2S-RR-STATE"),
        (
            _PLANNED,
            "open_stream = open_towards_recovery if forward else open_towards_original",
            "open_stream = open_towards_original if forward else open_towards_recovery",
        ),
    ),
    _hosts(
        "original-of-a-host-stays-on",
        "the original machine runs on while its disks are overwritten by reverse replication",
        ("H2S-RR",),
        (
            _PLANNED,
            '        await hosts.require_off(session.at_receiver, guest, "off")\n',
            "",
        ),
    ),
    _hosts(
        "reverse-replication-moves-the-machine",
        "the machine is stopped at the secondary site when reverse replication begins",
        ("H2S-RR-STATE",),
        (
            _PLANNED,
            _COMPARED,
            f'{_COMPARED}            await workshop.calls.hosts.power(session.at_source, machine.replica_name, "off")\n',
        ),
    ),
    _hosts(
        "failback-of-a-host-from-an-old-point",
        "the way back starts from the first point, not from the last one",
        ("H2S-FB",),
        (
            _PLANNED,
            "                await workshop.calls.hosts.roll(session, point.id)\n",
            "                await workshop.calls.hosts.roll(session, workshop.sessions.points(session.stream)[0].id)\n",
        ),
    ),
    _hosts(
        "test-machine-stays-on-its-host",
        "the clean-up leaves the test machine on the recovery host",
        ("H2S-TFO", "LAB-TFO-ISOLATION"),
        (
            f"{_CS}.targets.host",
            '        await self.calls.at(recovery_host_of(machine), "remove-machine", arguments)\n',
            "        assert arguments\n",
        ),
    ),
    _hosts(
        "recovery-host-without-provider",
        "protection begins although the recovery host has no provider",
        ("H2S-AGENT",),
        (
            f"{_CS}.procedures.readiness",
            '        needed = [machine.agent, *([f"provider-{recovery.name}"] if recovery is not None else [])]\n',
            "        needed = [machine.agent]\n",
        ),
    ),
    _hosts(
        "cloud-without-a-server",
        "a cloud is taken before the VMM server that it belongs to",
        ("H2S-VAULT", "H2S-CLOUD"),
        (
            _SETUP,
            '        if fabric is None or fabric["kind"] != VMM:\n',
            '        if fabric is not None and fabric["kind"] != VMM:\n',
        ),
    ),
    _hosts(
        "planned-run-is-an-unplanned-one",
        "a planned run of a recovery plan fails its machines over without their last changes",
        ("H2S-FO-RP", "H2A-FO-RP"),
        (
            f"{_CS}.plans.kinds",
            "RunKind.PLANNED: Work(Operation.PLANNED_FAILOVER,",
            "RunKind.PLANNED: Work(Operation.FAILOVER,",
        ),
    ),
)

TO_AZURE: tuple[Defect, ...] = (
    _hosts(
        "host-of-no-site-accepted",
        "a machine of a host that was added to no site is enabled",
        ("H2A-SITE",),
        (
            _SETUP,
            '            return f"host {source} is in no Hyper-V site and no cloud (seed L98)"\n',
            "            return None\n",
        ),
    ),
    _hosts(
        "policy-of-the-site-ignored",
        "a machine that goes to Azure has another policy than its site",
        ("H2A-POLICY",),
        (
            _SETUP,
            "        if place.policy != policy:\n",
            "        if recovery is not None and place.policy != policy:\n",
        ),
    ),
    _hosts(
        "hosts-without-a-vault",
        "machines of hosts go to Azure before a vault was set up",
        ("H2A-VAULT", "H2A-TARGET"),
        (
            f"{_CS}.procedures.readiness",
            "        if machine.settings.azure is not None:\n            self._set_up(",
            "        if machine.settings.azure is None:\n            self._set_up(",
        ),
    ),
    _hosts(
        "source-left-on-beside-azure",
        "a planned failover leaves the source running",
        ("H2A-PFO-OFF", "H2A-PFO-ZERO", "H2S-PFO-OFF"),
        (
            _PLANNED,
            '        await hosts.require_off(session.at_source, session.guest, "shutdown")\n',
            "        pass\n",
        ),
    ),
    _hosts(
        "machine-in-azure-not-started",
        "the machine in Azure is made and stays off",
        ("H2A-FO-VISIBLE", "H2A-TFO", "H2A-UFO"),
        (
            "vault.compute",
            "            self.hypervisor.power_on(order.name)\n            if",
            "            if",
        ),
    ),
    _hosts(
        "points-in-azure-survive-commit",
        "after a commit the vault still has the other points",
        ("H2A-COMMIT",),
        (
            f"{_CS}.targets.azure",
            '            await self.vault.forget_points(session.stream, machine.attributes.get("recovery_point"))\n',
            "            pass\n",
        ),
    ),
    _hosts(
        "reprotect-from-azure-to-a-host",
        "a machine in Azure is reprotected towards its host, which has no way to take that",
        ("H2A-FB-PLANNED",),
        (
            _STATES,
            '            "reprotect": "from Azure the way back is a planned failover, which is called failback (seed L111)",\n',
            "",
        ),
    ),
    _hosts(
        "failback-while-azure-runs",
        "the last transfer from Azure begins while the machine there still writes",
        ("H2A-FB-ZERO",),
        (
            _FROM_AZURE,
            "            await self.workshop.targets.of_machine(machine).stop_machine(machine, machine.replica_name)\n",
            "            pass\n",
        ),
    ),
    _hosts(
        "nothing-synchronised-first",
        "all data comes from Azure while nothing runs, although less would have to",
        ("H2A-FB-SYNC",),
        (
            _FROM_AZURE,
            '        if compared == COMPARE:\n            async with steps.step("synchronise")',
            '        if compared == EVERYTHING:\n            async with steps.step("synchronise")',
        ),
    ),
    _hosts(
        "alternate-location-ignored",
        "a machine comes back to its old host, whichever was chosen",
        ("H2A-FB-ALT",),
        (
            _FROM_AZURE,
            "    return Server(name) if isinstance(name, str) else source_of(machine).source\n",
            "    return source_of(machine).source if name is None or machine else Server(name)\n",
        ),
    ),
    _hosts(
        "original-machine-made-anew",
        "a failback to the same machine makes new disks beside its own",
        ("H2A-FB-SAME",),
        (
            _FROM_AZURE,
            '        if arguments.get("to") == ALTERNATE:\n            async with',
            '        if arguments.get("to") != ALTERNATE:\n            async with',
        ),
    ),
    _hosts(
        "machine-stays-in-azure",
        "the commit of a failback leaves the machine in Azure",
        ("H2A-FB-COMMIT",),
        (
            _FROM_AZURE,
            "            await self.workshop.targets.of_machine(machine).remove_machine(machine, machine.replica_name)\n",
            "            pass\n",
        ),
    ),
)
