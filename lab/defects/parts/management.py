"""Defects of the configuration server: reports, health, access, readiness, groups, plans."""

from __future__ import annotations

from lab.defects.model import Defect
from lab.defects.parts.control import control_defect

_STATES, _REPORTS, _HEALTH = "states", "reports", "health"

MANAGEMENT: tuple[Defect, ...] = (
    control_defect(
        "ended-session-reports",
        "reports about a session that has ended are believed",
        ("LAB-FENCE",),
        (_REPORTS, "            if session is not None and session.open:\n", "            if session is not None:\n"),
    ),
    control_defect(
        "protected-before-a-point",
        "a machine is called protected before it has a recovery point",
        ("V2A-IR-COPY", "V2A-DELTA-AFTER-IR"),
        (_STATES, "    if not (copied and has_point):\n", "    if not copied:\n"),
    ),
    control_defect(
        "protected-before-the-copy",
        "a machine is called protected before its copy is complete",
        ("V2A-IR-COPY",),
        (_STATES, "    if not (copied and has_point):\n", "    if not has_point:\n"),
    ),
    control_defect(
        "rpo-not-watched",
        "a recovery point that is too old is no cause of bad health",
        ("LAB-RPO",),
        (_HEALTH, "    if facts.rpo_s > facts.rpo_threshold_s:\n", "    if facts.rpo_s < 0:\n"),
        (_HEALTH, "    if facts.rpo_s > max(facts.rpo_threshold_s", "    if facts.rpo_s < -max(facts.rpo_threshold_s"),
    ),
    control_defect(
        "rpo-reported-as-met",
        "the age of the newest recovery point is reported as nothing",
        ("LAB-RPO",),
        (_HEALTH, "max(0.0, (now_ns - newest_end_ns) / NS)", "0.0 * (now_ns - newest_end_ns)"),
    ),
    control_defect(
        "components-may-operate",
        "an agent's certificate may start operations",
        ("LAB-MUTUAL-TLS", "V2A-PORT-443-MGMT"),
        (
            "access",
            "return _peer(request, (OPERATOR, CONSOLE))",
            "return _peer(request, (OPERATOR, CONSOLE, *COMPONENT_KINDS))",
        ),
    ),
    control_defect(
        "passphrase-not-checked",
        "whoever asks is registered",
        ("V2A-MOB-EACH", "LAB-MUTUAL-TLS"),
        ("component_api", '            raise Forbidden("wrong pairing passphrase")\n', "            pass\n"),
    ),
    control_defect(
        "unregistered-agent-accepted",
        "a machine without its mobility service is enabled",
        ("V2A-MOB-EACH", "V2S-UA-EACH"),
        (
            "procedures.readiness",
            "            if self.registry.find(component) is None:\n",
            "            if not component:\n",
        ),
    ),
    control_defect(
        "unsupported-system-accepted",
        "the support matrix is not asked",
        ("GEN-P2S-OS", "GEN-V2S-HOST"),
        (
            "procedures.readiness",
            "        problem = None if facts is None else matrix.refusal_of(facts)\n",
            "        problem = None\n",
        ),
    ),
    control_defect(
        "master-target-overfilled",
        "a master target takes more disks than it can",
        ("V2S-MT-COUNT",),
        (
            "procedures.readiness",
            "        problem = self.capacity.refusal(machine, target, self.machines.all())\n",
            "        problem = None\n",
        ),
    ),
    control_defect(
        "policy-not-passed-on",
        "a changed policy does not reach the agent",
        ("V2A-POLICY-APPLIES", "V2A-PORT-9443-CONF"),
        (
            "procedures.protect",
            '        async with steps.step("start-replication"):\n            await tell_agent(workshop, machine, session, policy)\n',
            "",
        ),
    ),
    control_defect(
        "group-option-ignored",
        "members share points although multi-VM consistency is off",
        ("V2A-PORT-20004-OFF",),
        (
            "groups.document",
            "        if not self.consistent or None in addresses.values():\n",
            "        if None in addresses.values():\n",
        ),
    ),
    control_defect(
        "group-order-not-given",
        "members are not told of their group",
        ("V2A-PORT-20004", "V2A-MVM-CRASH"),
        (
            "groups.document",
            "        if not self.consistent or None in addresses.values():\n",
            "        if addresses:\n",
        ),
    ),
    control_defect(
        "group-fails-over-apart",
        "each member of a group fails over to its own newest point",
        ("V2A-MVM-CRASH",),
        (
            "groups.api",
            '{**rest, "recovery_point": point.points[name].id}',
            '{**rest, "recovery_point": "latest" if name in point.points else None}',
        ),
    ),
    control_defect(
        "member-fails-over-alone",
        "a member of a consistent group fails over by itself",
        ("V2A-MVM-CRASH", "LAB-REFUSAL"),
        (
            "operator_api",
            "        if operation in NOT_ALONE and group is not None and group.consistent:\n",
            "        if operation not in NOT_ALONE and group is not None and not group:\n",
        ),
    ),
    control_defect(
        "plan-order-ignored",
        "all groups of a recovery plan start together",
        ("V2A-FO-RP",),
        ("plans.progress", "step.stage == min(open_stages) and step.state", "step.state"),
    ),
    control_defect(
        "no-way-back-needed",
        "reprotection does not ask for the servers of the way back",
        ("V2A-FB-PREREQ", "V2S-MT-FAILBACK"),
        (
            "procedures.failback",
            "        servers = self._servers(machine)\n        self.readiness.need(",
            "        servers = self._servers(machine)\n        (lambda *_, **__: None)(",
        ),
    ),
    control_defect(
        "untested-failover-not-said",
        "a failover without a test failover before it is not called untested",
        ("V2A-TFO-GATE",),
        (
            "procedures.failover",
            'untested = None if machine.attributes.get("test_failover") == "performed" else True',
            "untested = None",
        ),
    ),
    control_defect(
        "test-failover-not-remembered",
        "a test failover that was cleaned up is not remembered as performed",
        ("V2A-TFO-GATE",),
        ("procedures.test_failover", '"performed" if worked else None', "None"),
    ),
    control_defect(
        "one-workload-not-advised",
        "nobody is advised that a consistent group is for one workload",
        ("V2A-MVM-SAMEWORK",),
        ("groups.document", "return (SAME_WORKLOAD,) if self.consistent else ()", "return ()"),
    ),
)
