"""Defects of what other targets and scenarios need: Azure and its vault, hosts and their clouds, VMware, consoles."""

from __future__ import annotations

from functools import partial

from lab.defects.model import Defect, Part, seeded

_CS = "configuration_server"
_READINESS, _SETUP = f"{_CS}.procedures.readiness", f"{_CS}.host_setup"
_PLANNED, _CALLS = f"{_CS}.procedures.planned", f"{_CS}.host_calls"
_azure = partial(seeded, Part.AZURE)
_hosts = partial(seeded, Part.HOSTS)
_around = partial(seeded, Part.SURROUNDINGS)


AZURE: tuple[Defect, ...] = (
    _azure(
        "setup-in-any-order",
        "steps of the set-up are taken in any order",
        ("V2A-SETUP-SEQ",),
        ("vault.setup", "    if missing:\n", "    if step is None:\n"),
    ),
    _azure(
        "unknown-server-accepted",
        "a machine of a server that was never added to the vault is enabled",
        ("V2A-VAULT-ADD",),
        (_READINESS, "        if azure.server not in done[Step.SERVERS]:\n", "        if not azure.server:\n"),
        ("vault.server", "if server not in self._ledger.setup()[Step.SERVERS]:\n", "if not server:\n"),
    ),
    _azure(
        "back-to-a-physical-machine",
        "a machine in Azure comes back to a physical one",
        ("P2A-FB-NOPHYS", "P2A-FB-VMWARE", "V2A-FB-PREREQ"),
        (
            _READINESS,
            "        if settings.failback is not None and settings.failback.to != VMWARE:\n",
            "        if settings.failback is None:\n",
        ),
    ),
    _azure(
        "back-to-a-site-without-vmware",
        "a machine in Azure comes back to a site that has no VMware host",
        ("P2A-FB-VMWARE",),
        (
            f"{_CS}.discovery",
            "    if await fabrics[site].inventory() is None:\n        message",
            "    if site not in fabrics.names():\n        message",
        ),
    ),
    _azure(
        "way-back-over-the-first-master-target",
        "the way back goes over the management server, whichever master target was chosen",
        ("V2A-MT-SEPARATE",),
        (
            f"{_CS}.procedures.failback",
            "            master_target=servers.master_target,\n",
            "            master_target=servers.process_server,\n",
        ),
    ),
    _azure(
        "way-back-without-a-master-target",
        "on the way back the process server is told of no master target",
        ("V2A-MT-FAILBACK", "V2A-FB-REVERSE"),
        (
            f"{_CS}.procedures.failback",
            "            await workshop.calls.open_at_master_target(session, policy, fresh=new)\n",
            "            pass\n",
        ),
    ),
    _azure(
        "replica-left-in-azure",
        "after the commit of a failback the machine in Azure is still there",
        ("V2A-FB-COMMIT",),
        (
            f"{_CS}.targets.azure",
            "        await self.vault.delete_machine(name)\n",
            "        await self.vault.machine(name)\n",
        ),
    ),
    _azure(
        "servers-have-to-be-apart",
        "process server and master target cannot be one and the same server",
        ("V2A-CS-ONE", "V2A-PS-DEFAULT", "V2A-MT-DEFAULT"),
        (
            f"{_CS}.settings_document",
            '    to = reader.text("to") if reader.has("to") else VMWARE\n',
            """    if _server(reader, "process_server").name == _server(reader, "master_target").name:
        raise BadRequest("settings.failback: a master target needs a server of its own")
    to = reader.text("to") if reader.has("to") else VMWARE
""",
        ),
    ),
    _azure(
        "physical-machines-refused",
        "physical machines do not go the way of VMware's",
        ("P2A-SAME",),
        ("vault.setup", 'WITH_AGENT = ("vmware", "physical")', 'WITH_AGENT = ("vmware",)'),
    ),
    _azure(
        "azure-takes-every-system",
        "the support matrix of Azure is not asked",
        ("GEN-P2A-OS",),
        (
            _READINESS,
            "        problem = None if facts is None else matrix.refusal_of(facts)\n",
            "        problem = None\n",
        ),
    ),
)

HOSTS: tuple[Defect, ...] = (
    _hosts(
        "stand-alone-host-accepted",
        "a host that no VMM server manages replicates to a secondary site",
        ("GEN-H2S-VMM", "H2S-CLOUD"),
        (_SETUP, "if where is None or not where.managed:", "if where is None:"),
    ),
    _hosts(
        "any-cloud-accepted",
        "a cloud of another capability profile is taken",
        ("H2S-CLOUD",),
        (_SETUP, "        if profile != HYPER_V:\n", "        if not profile:\n"),
    ),
    _hosts(
        "cloud-without-hosts",
        "a cloud without a host is taken",
        ("H2S-HOSTS",),
        (
            _SETUP,
            '        if not reader.texts("hosts"):\n            raise BadRequest("cloud.hosts',
            '        if reader.texts("hosts") is None:\n            raise BadRequest("cloud.hosts',
        ),
    ),
    _hosts(
        "single-vmm-not-advised",
        "nobody is advised to have a VMM server in each site",
        ("H2S-VMM-TWO",),
        (_SETUP, "if len(servers) == 1 else []", "if len(servers) == 0 else []"),
    ),
    _hosts(
        "policy-of-the-cloud-ignored",
        "a machine has another policy than its cloud",
        ("H2S-POLICY",),
        (_SETUP, "        if place.policy != policy:\n", "        if not policy:\n"),
    ),
    _hosts(
        "any-copy-frequency",
        "a host is told an interval that it does not have",
        ("H2S-POLICY",),
        (_READINESS, "        if interval not in COPY_FREQUENCIES_S:\n", "        if not interval:\n"),
    ),
    _hosts(
        "source-not-required-to-be-off",
        "a planned failover goes on although its source still runs",
        ("H2S-PFO-OFF", "H2S-PFO-ZERO"),
        (_CALLS, "        if state != OFF:\n", "        if not state:\n"),
    ),
    _hosts(
        "host-told-of-another-receiver",
        "a host sends to itself",
        ("H2S-DATAPATH",),
        (
            _CALLS,
            "        server = session.at_receiver\n        address",
            "        server = session.at_source\n        address",
        ),
    ),
    _hosts(
        "first-copy-of-a-host-left-out",
        "a host begins with deltas",
        ("H2S-IR",),
        (_CALLS, "            mode=mode,\n", '            mode="steady",\n'),
    ),
    _hosts(
        "start-time-ignored",
        "the initial replication begins at once, whatever its start time",
        ("H2S-IR", "H2A-IR"),
        (_CALLS, "            start_at_ns=start_at_ns,\n", "            start_at_ns=0,\n"),
    ),
    _hosts(
        "new-replica-disks-called-old",
        "the recovery host is told that its new replica disks have content already",
        ("H2S-IR",),
        (_CALLS, "            fresh=fresh,\n", "            fresh=False,\n"),
    ),
)

SURROUNDINGS: tuple[Defect, ...] = (
    _around(
        "console-from-anywhere",
        "a console at another site is let in",
        ("V2S-VC-COLOC",),
        (
            f"{_CS}.console_place",
            "if kind_of(request) == CONSOLE and (caller is None or not at_home(caller, own_addresses, site_networks)):",
            "if kind_of(request) == CONSOLE and caller is None:",
        ),
    ),
    _around(
        "every-network-is-home",
        "every address is taken for one of the configuration server's site",
        ("V2S-VC-COLOC",),
        (
            f"{_CS}.console_place",
            "    return any(address in ipaddress.ip_network(network) for network in site_networks)\n",
            "    return bool(site_networks)\n",
        ),
    ),
    _around(
        "vmware-machine-not-looked-for",
        "a VMware machine that no host has is enabled",
        ("GEN-V2S-HOST", "V2S-ESX"),
        (f"{_CS}.discovery", "    if wanted not in names:\n", "    if not wanted:\n"),
    ),
    _around(
        "inventory-of-the-first-day",
        "machines that came later are not discovered",
        ("V2A-PS-DISCOVER",),
        (
            "fabric.discovery",
            '            if self._known is None or self._known["machines"] != listed:\n',
            "            if self._known is None:\n",
        ),
    ),
    _around(
        "stand-alone-esxi-not-advised-against",
        "nobody is advised to have a vCenter",
        ("V2A-ESX", "V2S-ESX"),
        ("fabric.discovery", "[] if vcenter else [NO_VCENTER]", "[]"),
    ),
    _around(
        "pushed-onto-any-system",
        "the agent is pushed onto a system that is not supported",
        ("GEN-P2S-OS", "GEN-V2S-HOST"),
        (
            "process_server.push",
            '    _require_supported(target, str(arguments.get("support") or SECONDARY_SITE))\n',
            "",
        ),
    ),
)
