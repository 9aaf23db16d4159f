"""Defects of what takes part and where: servers in their sites, hosts and their providers, ways to Azure."""

from __future__ import annotations

from functools import partial

from lab.defects.model import Defect, Part, seeded
from lab.defects.parts.control import control_defect

_CS = "configuration_server"
_READINESS, _STATES = "procedures.readiness", f"{_CS}.states"
_azure = partial(seeded, Part.AZURE)
_hosts = partial(seeded, Part.HOSTS)
_mobility = partial(seeded, Part.MOBILITY)
_provider = partial(seeded, Part.PROVIDER)
_FABRICS = "        fabrics: tuple[str, ...] = (settings.primary_fabric,)\n"
_PUSHED = '        Family.HOST_TO_AZURE: {\n            "push-install": f"push installation {_FROM_HOST}",\n'

_SERVERS: tuple[Defect, ...] = (
    control_defect(
        "data-leaves-over-the-other-site",
        "the process server of the secondary site takes the data of the primary one",
        ("V2S-PS-PRIMARY",),
        (
            "targets.site",
            "            process_server=settings.process_server,\n",
            "            process_server=settings.failback.process_server if settings.failback else settings.process_server,\n",
        ),
    ),
    control_defect(
        "enabled-without-a-master-target",
        "nobody asks whether the master target has its agent",
        ("V2S-MT-UA",),
        (_READINESS, '            needed.append(f"master-target-{settings.site.master_target.name}")\n', ""),
    ),
    control_defect(
        "agents-before-servers",
        "a push installation is taken before there is a process server to do it",
        ("V2S-SETUP",),
        (
            "procedures.protect",
            '        self.readiness.need(machine, Operation.PUSH_INSTALL, f"process-server-{server}")\n',
            "        assert server\n",
        ),
    ),
    control_defect(
        "vault-needed-in-any-case",
        "replication to a site of one's own needs a vault in Azure",
        ("V2S-SCOUT",),
        (
            _READINESS,
            _FABRICS,
            f"""        if not self.deployment.done():
            raise refusal(machine, operation, "the vault is not set up")
{_FABRICS}""",
        ),
    ),
    control_defect(
        "management-on-one-interface",
        "the management port is open at the server's first address only: who comes over the internet gets no answer",
        ("H2S-VMM-NET", "V2A-PORT-443-MGMT"),
        (
            "server",
            "await web.TCPSite(self._runner, listen.address, listen.port,",
            "await web.TCPSite(self._runner, self._config.addresses[0], listen.port,",
        ),
    ),
    _mobility(
        "agent-stays-with-its-first-order",
        "an agent takes no new order for a stream that it replicates: it goes on with the old server and port",
        ("V2S-UA-LINK", "V2A-PORT-9443-CONF"),
        (
            "mobility.agent",
            "            elif session.order != order:\n",
            "            elif session.order.stream != order.stream:\n",
        ),
    ),
    _mobility(
        "outage-kept-quiet",
        "an agent that cannot send says that all is well",
        ("LAB-NEGATIVE-CONTROL",),
        ("mobility.uplink", "            self._noted(problem)\n", '            self._noted("")\n'),
    ),
)

_TO_AZURE: tuple[Defect, ...] = (
    _azure(
        "storage-named-by-its-inner-address",
        "process servers are told the address that the vault itself has for the storage, not the public one",
        ("V2A-NET-PUBLIC",),
        (
            "vault.azure_storage",
            'return StorageAccess(f"{self._public_url}/{stream}",',
            "return StorageAccess(f\"{str(self._service.url).rstrip('/')}/{stream}\",",
        ),
    ),
    _azure(
        "network-of-nobody-accepted",
        "a replica is taken in whose network nobody has set up in Azure",
        ("H2A-PREP",),
        ("vault.server", "        if there is not None and absent:\n", "        if there is None and absent:\n"),
    ),
    _azure(
        "management-server-has-to-be-vmwares",
        "a management server that no VMware host knows is not accepted",
        ("P2A-CS-PHYS",),
        (
            f"{_CS}.procedures.protect",
            "    if machine.settings.vmware is not None:\n",
            """    if machine.settings.azure is not None and machine.settings.host is None:
        found = await workshop.fabrics[machine.settings.primary_fabric].inventory() or {"machines": []}
        server = machine.settings.process_server.name
        if server not in [item["name"] for item in found["machines"]]:
            raise JobError("not-on-esxi", f"{server} is not in the inventory")
    if machine.settings.vmware is not None:
""",
        ),
    ),
)

_FROM_HOSTS: tuple[Defect, ...] = (
    _hosts(
        "host-of-any-system",
        "nobody asks whether a host is one of the support matrix",
        ("GEN-H2A-HOST",),
        (
            f"{_CS}.procedures.host_support",
            "    problem = load_matrix(HYPER_V_HOST).refusal_of(await calls.describe_host(server))\n",
            "    await calls.describe_host(server)\n    problem = None\n",
        ),
    ),
    _hosts(
        "guest-of-any-system",
        "nobody asks whether the system inside of a machine is supported",
        ("GEN-H2A-HOST",),
        (
            f"{_CS}.{_READINESS}",
            "            problem = refusal_of_guest(machine.settings.host, matrix)\n",
            "            problem = None\n",
        ),
    ),
    _hosts(
        "machine-that-no-host-has",
        "a machine is enabled that its host does not have",
        ("H2S-VM-ONE",),
        (f"{_CS}.procedures.host_support", '    if found.get("state") == MISSING:\n', "    if not found:\n"),
    ),
    _hosts(
        "clouds-are-no-source",
        "only Hyper-V sites replicate to Azure: a host in a cloud of a VMM server is refused",
        ("H2A-VMM-SRC",),
        (
            f"{_CS}.host_setup",
            "        if place is None:\n",
            "        if place is None or (recovery is None and place.managed):\n",
        ),
    ),
    _hosts(
        "source-host-without-a-provider",
        "nobody asks whether the source host has its provider",
        ("H2A-INST-BOTH",),
        (f"{_CS}.{_READINESS}", "        needed = [machine.agent, *([", "        needed = [*(["),
    ),
    _hosts(
        "agent-pushed-into-a-machine-of-a-host",
        "the mobility service can be pushed into a machine that its host replicates",
        ("H2A-NOAGENT",),
        (_STATES, _PUSHED, _PUSHED.replace('            "push-install": f"push installation {_FROM_HOST}",\n', "")),
        (
            _STATES,
            "    if operation not in (Operation.PUSH_INSTALL, Operation.MOVE, Operation.GROW_DISKS)\n",
            "    if operation not in (Operation.MOVE, Operation.GROW_DISKS)\n",
        ),
    ),
    _hosts(
        "public-address-on-a-test-copy",
        "a test failover takes the public address that the replica is to have",
        ("H2A-FO-PIP",),
        (
            f"{_CS}.targets.azure",
            '    if public is None or inside is None or order.kind == "test":\n',
            "    if public is None or inside is None:\n",
        ),
    ),
    _hosts(
        "public-address-forgotten",
        "a replica does not get the public address that is wanted",
        ("H2A-FO-PIP",),
        (
            "vault.compute",
            "                self.addresses.assign(order.name, order.public)\n",
            "                pass\n",
        ),
    ),
    _provider(
        "vmm-server-needs-a-hypervisor",
        "the provider of a VMM server wants the hypervisor of a host, which is not there",
        ("H2A-VMM-INST", "H2S-PROV-VMM"),
        (
            "provider.__main__",
            '    if config.settings.get("manages_only"):\n',
            '    if config.settings.get("manages_only") and config.data_port is not None:\n',
        ),
    ),
)

PLACEMENT: tuple[Defect, ...] = (*_SERVERS, *_TO_AZURE, *_FROM_HOSTS)
