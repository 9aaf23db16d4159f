"""The service: its parts put together, started and stopped."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping

from aiohttp import web

from lab.replication.common.config import Endpoint
from lab.replication.common.signals import Signal
from lab.replication.common.tls import client_context, server_context
from lab.replication.configuration_server.access import errors_as_json
from lab.replication.configuration_server.alerts import AlertTable, Watch
from lab.replication.configuration_server.ca import load_authority
from lab.replication.configuration_server.calls import Calls
from lab.replication.configuration_server.capacity import Capacity
from lab.replication.configuration_server.commands import CommandQueue
from lab.replication.configuration_server.component_api import ComponentApi
from lab.replication.configuration_server.components import Registry
from lab.replication.configuration_server.config import ServerConfig
from lab.replication.configuration_server.console_place import consoles_at_home
from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.deployment import Deployment
from lab.replication.configuration_server.discovery import DiscoveryApi
from lab.replication.configuration_server.events import EventLog
from lab.replication.configuration_server.fabric_client import FabricClient, Fabrics
from lab.replication.configuration_server.groups.api import GroupApi
from lab.replication.configuration_server.groups.table import GroupTable
from lab.replication.configuration_server.growth import GrowthWatch
from lab.replication.configuration_server.host_setup import HostSetup
from lab.replication.configuration_server.jobs import JobRunner, Procedure
from lab.replication.configuration_server.machines import MachineTable
from lab.replication.configuration_server.operator_api import OperatorApi
from lab.replication.configuration_server.overview import Overview
from lab.replication.configuration_server.plans.api import PlanApi
from lab.replication.configuration_server.plans.instants import Instants
from lab.replication.configuration_server.plans.runner import PlanRunner
from lab.replication.configuration_server.plans.scripts import Scripts
from lab.replication.configuration_server.plans.store import PlanTable
from lab.replication.configuration_server.procedures import (
    failback,
    failover,
    from_azure,
    grow,
    move,
    move_target,
    planned,
    protect,
    test_failover,
)
from lab.replication.configuration_server.procedures.parts import Workshop
from lab.replication.configuration_server.procedures.readiness import Readiness
from lab.replication.configuration_server.reports import Reports
from lab.replication.configuration_server.sessions import SessionTable
from lab.replication.configuration_server.site.routes import Site
from lab.replication.configuration_server.states import Family, Operation
from lab.replication.configuration_server.targets.azure import AzureTarget
from lab.replication.configuration_server.targets.choice import Targets
from lab.replication.configuration_server.targets.host import HostTarget
from lab.replication.configuration_server.targets.site import SiteTarget
from lab.replication.configuration_server.vault_client import VaultClient
from lab.replication.configuration_server.vault_follower import VaultFollower
from lab.replication.configuration_server.views import Views

MOST_BODY = 1 << 20


class ConfigurationServer:
    """A running configuration server; ``start`` and ``close`` once each, inside an event loop."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._database = Database(config.database)
        self._events = EventLog(self._database)
        self._commands = CommandQueue(self._database)
        self._registry = Registry(self._database)
        self._machines = MachineTable(self._database)
        self._sessions = SessionTable(self._database)
        self._groups = GroupTable(self._database)
        context = client_context(config.identity_dir)
        self._fabrics = _fabrics(config, context)
        self._vault = _vault(config, context)
        self._deployment = Deployment(self._database, self._events, self._vault)
        self._host_setup = HostSetup(self._database, self._events)
        self._calls = Calls(self._commands, self._registry, config.deadlines)
        points_news = Signal()
        self._workshop = self._make_workshop(points_news)
        self._reports = Reports(self._database, self._machines, self._sessions, self._events, points_news, self._groups)
        procedures = self._procedures()
        self._jobs = JobRunner(self._database, self._machines, self._events, procedures, self._reports.settle)
        self._plans = PlanTable(self._database, self._events)
        self._scripts = Scripts(config.scripts_dir, config.script_user)
        self._plan_runner = PlanRunner(
            database=self._database,
            plans=self._plans,
            machines=self._machines,
            jobs=self._jobs,
            events=self._events,
            scripts=self._scripts,
            instants=Instants(self._groups, self._machines, self._sessions),
        )
        self._views = Views(
            self._registry, self._machines, self._sessions, self._jobs, config.deadlines.silence, time.time_ns()
        )
        self._alerts = AlertTable(self._database, self._events)
        growth = GrowthWatch(self._jobs)
        self._watch = Watch(self._machines, self._views, self._alerts, config.deadlines.watch, growth.look)
        self._watching: asyncio.Task[None] | None = None
        self._follower = self._make_follower()
        self._runner = web.AppRunner(self._application(), access_log=None)

    @property
    def port(self) -> int:
        """The port that is listened on, useful when the configuration says 0."""
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Tell about what an earlier run left unfinished, then serve.

        Raises:
            OSError: the port is taken.
        """
        self._commands.withdraw_all()
        self._jobs.recover()
        self._plan_runner.recover()
        await self._runner.setup()
        context = server_context(self._config.identity_dir, require_client=False)
        listen = self._config.listen
        await web.TCPSite(self._runner, listen.address, listen.port, ssl_context=context).start()
        self._watching = asyncio.get_running_loop().create_task(self._watch.run())
        if self._follower is not None:
            self._follower.start()

    async def close(self) -> None:
        """Stop serving; jobs that run are left as they are and are interrupted at the next start."""
        await self._stop_watching()
        if self._follower is not None:
            await self._follower.stop()
        await self._plan_runner.close()
        await self._jobs.close()
        self._commands.close()
        self._events.news.notify()
        await self._runner.cleanup()
        await self._fabrics.close()
        if self._vault is not None:
            await self._vault.close()
        self._database.close()

    async def _stop_watching(self) -> None:
        self._watch.stop()
        if self._watching is not None:
            await self._watching

    def _application(self) -> web.Application:
        config = self._config
        at_home = consoles_at_home(config.addresses, config.site_networks)
        application = web.Application(middlewares=[errors_as_json, at_home], client_max_size=MOST_BODY)
        authority = load_authority(config.ca_dir)
        components = ComponentApi(
            authority=authority,
            passphrase_file=config.passphrase_file,
            database=self._database,
            registry=self._registry,
            commands=self._commands,
            events=self._events,
            reports=self._reports,
        )
        operators = OperatorApi(
            database=self._database,
            registry=self._registry,
            machines=self._machines,
            sessions=self._sessions,
            events=self._events,
            jobs=self._jobs,
            views=self._views,
            groups=self._groups,
            deployment=self._deployment,
        )
        groups = GroupApi(self._database, self._groups, self._machines, self._sessions, self._events, self._jobs)
        plans = PlanApi(self._plans, self._plan_runner, self._scripts)
        overview = self._overview()
        site = Site(config.name, overview, self._sessions, operators.begin)
        for part in (
            components,
            operators,
            groups,
            plans,
            overview,
            site,
            DiscoveryApi(self._fabrics),
            self._host_setup,
        ):
            application.add_routes(part.routes())
        return application

    def _overview(self) -> Overview:
        return Overview(
            registry=self._registry,
            machines=self._machines,
            views=self._views,
            alerts=self._alerts,
            groups=self._groups,
            plans=self._plans,
            jobs=self._jobs,
        )

    def _make_workshop(self, points_news: Signal) -> Workshop:
        site = SiteTarget(self._calls, self._fabrics, self._sessions)
        azure = AzureTarget(self._vault, self._sessions) if self._vault is not None else None
        return Workshop(
            calls=self._calls,
            fabrics=self._fabrics,
            targets=Targets(site, HostTarget(self._calls.hosts, self._sessions), azure),
            machines=self._machines,
            sessions=self._sessions,
            groups=self._groups,
            news=points_news,
        )

    def _make_follower(self) -> VaultFollower | None:
        if self._vault is None:
            return None
        return VaultFollower(self._vault, self._deployment, self._reports, self._workshop, self._jobs)

    def _procedures(self) -> Mapping[Operation, Procedure]:
        workshop = self._workshop
        capacity = Capacity(self._config.replica_disks)
        readiness = Readiness(
            self._registry, self._machines, self._sessions, self._fabrics, self._deployment, self._host_setup, capacity
        )
        commit = failover.Commit(workshop, readiness)
        own = Endpoint(self._config.addresses[0], self._config.listen.port)
        return {
            Operation.PUSH_INSTALL: protect.PushInstall(workshop, readiness, own),
            Operation.ENABLE: protect.Enable(workshop, readiness),
            Operation.DISABLE: protect.Disable(workshop, readiness),
            Operation.RESYNCHRONISE: protect.Resynchronise(workshop, readiness),
            Operation.CUT: protect.CutNow(workshop, readiness),
            Operation.APPLY_POLICY: protect.ApplyPolicy(workshop, readiness),
            Operation.MOVE: move_target.MoveEither(
                move.Move(workshop, readiness), move_target.MoveTarget(workshop, readiness)
            ),
            Operation.GROW_DISKS: grow.GrowDisks(workshop, readiness),
            Operation.TEST_FAILOVER: test_failover.StartTestFailover(workshop, readiness),
            Operation.CLEANUP_TEST_FAILOVER: test_failover.CleanupTestFailover(workshop, readiness),
            Operation.FAILOVER: failover.Failover(workshop, readiness),
            Operation.PLANNED_FAILOVER: planned.PlannedFailover(workshop, readiness),
            Operation.CHANGE_RECOVERY_POINT: failover.ChangeRecoveryPoint(workshop, readiness),
            Operation.COMMIT: _to_site(commit, planned.CommitToSite(commit)),
            Operation.REPROTECT: _to_site(
                failback.Reprotect(workshop, readiness), planned.ReverseReplication(workshop, readiness)
            ),
            Operation.FAILBACK: planned.ByFamily(
                failback.Failback(workshop, readiness),
                {
                    Family.HOST_TO_SITE: planned.PlannedFailback(workshop, readiness),
                    Family.HOST_TO_AZURE: from_azure.FailbackFromAzure(workshop, readiness),
                },
            ),
            Operation.COMMIT_FAILBACK: planned.ByFamily(
                failback.CommitFailback(workshop, readiness),
                {
                    Family.HOST_TO_SITE: planned.CommitPlannedFailback(workshop, readiness),
                    Family.HOST_TO_AZURE: from_azure.CommitFromAzure(workshop, readiness),
                },
            ),
        }


def _to_site(ordinary: Procedure, from_hosts: Procedure) -> Procedure:
    return planned.ByFamily(ordinary, {Family.HOST_TO_SITE: from_hosts})


def _fabrics(config: ServerConfig, context: ssl.SSLContext) -> Fabrics:
    seconds = config.deadlines.fabric
    return Fabrics({site: FabricClient(site, endpoint, context, seconds) for site, endpoint in config.fabrics.items()})


def _vault(config: ServerConfig, context: ssl.SSLContext) -> VaultClient | None:
    if config.vault is None:
        return None
    return VaultClient(config.vault, context, config.deadlines.fabric, config.deadlines.drain)
