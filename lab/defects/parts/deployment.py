"""Defects of how protection begins and ends, of the servers that take part, and of what a provider reads from a host."""

from __future__ import annotations

from functools import partial

from lab.defects.model import Defect, Part, seeded
from lab.defects.parts.control import control_defect

_PROTECT = "procedures.protect"
_CAPTURE, _REPLICATION, _TICKETS = "provider.capture", "provider.replication", "provider.tickets"
_provider = partial(seeded, Part.PROVIDER)
_around = partial(seeded, Part.SURROUNDINGS)
_NEEDED = '        needed = [machine.agent, f"process-server-{settings.process_server.name}"]\n'
_SENT = """        self._outlet.put(document.head.sequence, queue.body(document))
        queue.remove(document)
"""

DEPLOYMENT: tuple[Defect, ...] = (
    control_defect(
        "agent-not-pushed",
        "a push installation is reported as done, and nobody was told to install anything",
        ("V2A-PS-PUSH", "V2A-MOB-PUSH", "V2S-PS-PUSH"),
        (
            _PROTECT,
            "            value = await self.workshop.calls.push_install(machine.settings.process_server.name, order)\n",
            '            value = {"version": order.get("version")}\n',
        ),
    ),
    control_defect(
        "installed-by-hand-refused",
        "only a mobility service that was pushed is accepted",
        ("V2A-MOB-MANUAL",),
        (
            "procedures.readiness",
            _NEEDED,
            f"""{_NEEDED}        if machine.attributes.get("mobility_version") is None:
            raise refusal(machine, operation, "the mobility service was not pushed")
""",
        ),
    ),
    control_defect(
        "replica-disks-in-the-primary-site",
        "replica disks are made at the site that they are meant to survive",
        ("V2S-MT-SECONDARY",),
        (
            "targets.site",
            "            fabric=settings.site.recovery_fabric,\n",
            "            fabric=settings.primary_fabric,\n",
        ),
    ),
    control_defect(
        "steps-without-an-end",
        "nobody writes down when the steps of a failover ended",
        ("LAB-RTO",),
        (
            "steps",
            "            state,\n            time.time_ns(),\n            detail,\n",
            "            state,\n            None,\n            detail,\n",
        ),
    ),
    control_defect(
        "agent-replicates-after-disable",
        "the agent is not told that its machine is protected no more",
        ("V2A-CS-COORD",),
        (
            _PROTECT,
            "        await discard_sessions(self.workshop, machine, steps, stop_agent=True)\n",
            "        await discard_sessions(self.workshop, machine, steps)\n",
        ),
    ),
    control_defect(
        "any-vault-trusted",
        "the configuration server is steered by any server that says it is the vault",
        ("V2A-PORT-443-CS-OUT",),
        ("vault_client", "json=body, ssl=self._context)", "json=body, ssl=False)"),
    ),
    control_defect(
        "enabled-without-a-look",
        "protection does not ask whether any host has the VMware machine",
        ("GEN-V2A-HOST",),
        (
            _PROTECT,
            "        await find_in_inventory(workshop, machine, steps)\n        await look",
            "        await look",
        ),
    ),
    _around(
        "console-shows-no-machines",
        "web site and console know of no machine",
        ("V2S-CS-MANAGE",),
        (
            "configuration_server.overview",
            '            "machines": [self.views.machine(machine) for machine in self.machines.all()],\n',
            '            "machines": [],\n',
        ),
    ),
    _around(
        "server-needs-a-console",
        "a configuration server without a console does not start",
        ("V2S-VC-OPT",),
        (
            "configuration_server.server",
            "        self._commands.withdraw_all()\n",
            '        (self._config.issued_dir / "console.pem").read_bytes()\n        self._commands.withdraw_all()\n',
        ),
    ),
)

PROVIDER: tuple[Defect, ...] = (
    _provider(
        "host-delta-cut-short",
        "the last sector of every changed place is left out",
        ("H2S-DELTA", "H2A-DELTA"),
        (
            _CAPTURE,
            "min(PIECE, area.end - offset)",
            "max(512, min(PIECE, area.end - offset) - 512)",
        ),
    ),
    _provider(
        "host-log-not-kept",
        "a log of a host is deleted before the other side has it",
        ("H2S-HRL", "H2A-HRL", "LAB-RECOVERY"),
        (
            _REPLICATION,
            _SENT,
            """        from lab.replication.common.link import Body
        body = queue.body(document)
        content = b"".join(bytes(part) for part in body.parts())
        queue.remove(document)
        self._outlet.put(document.head.sequence, Body(lambda: [content], len(content)))
""",
        ),
    ),
    _provider(
        "record-of-changes-not-moved-on",
        "the base of the record stays behind, and is deleted with the first cut",
        ("H2A-TRACK",),
        (
            _CAPTURE,
            '            write_json(self._state, {**known, "base": frozen.checkpoint})\n',
            "            assert known\n",
        ),
    ),
    _provider(
        "any-principal-of-the-realm",
        "a host takes whoever has a ticket for the host that it knows",
        ("H2S-AUTH-KRB",),
        (
            _TICKETS,
            "            if principal == self.principal(host):\n",
            '            if principal.endswith(f"@{self.realm}"):\n',
        ),
    ),
    _provider(
        "ticket-passed-on",
        "a ticket is as good on another connection as on that for which it was made",
        ("H2S-AUTH-KRB",),
        (_TICKETS, "application_data=BOUND_TO + finished", "application_data=BOUND_TO"),
    ),
    _provider(
        "ticket-without-a-binding",
        "a ticket that is bound to no connection is taken",
        ("H2S-AUTH-KRB",),
        (_TICKETS, "        if not bound & CHANNEL_BOUND:\n", "        if not bound:\n"),
    ),
)
