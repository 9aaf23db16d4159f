"""Operating a reference stack that is deployed on a lab: an operator's client through a tunnel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from lab.provision.lab import Lab
from lab.stacks.errors import NotFound
from lab.stacks.reference.azure import setup_steps
from lab.stacks.reference.client import ReferenceStack
from lab.stacks.reference.components import (
    CONFIGURATION_SERVER,
    JSON,
    PORT,
    configuration_server_name,
    management_endpoint,
    mobility_settings,
)
from lab.stacks.reference.deploy import PUSH_FOLDER
from lab.stacks.reference.hosts import host_settings, management_documents
from lab.stacks.reference.settings import group_document, machine_settings, plan_document, policy_document
from lab.topology.model import Topology
from lab.topology.naming import mac_for


@contextmanager
def operated(lab: Lab) -> Iterator[ReferenceStack]:
    """Yield the stack, with the topology's policies, plans and protection settings handed over."""
    topology = lab.topology
    server = configuration_server_name(topology)
    settings = {name: protection_settings(topology, name) for name in topology.stack.protect} | {
        name: host_settings(topology, lab.folder.name, name, partial(mac_for, topology.name))
        for name in topology.stack.protect_from_host
    }
    with (
        lab.machine(server).ssh.tunnel("127.0.0.1", PORT) as tunnel,
        ReferenceStack(
            f"https://{tunnel.host}:{tunnel.port}",
            f"{CONFIGURATION_SERVER}.{server}.recovery",
            lab.folder.stack,
            settings,
            setup_steps(topology),
        ) as stack,
    ):
        for name, policy in topology.stack.policies.items():
            _hand_over(stack, name, policy_document(policy))
        for path, document in management_documents(topology):
            stack.call("PUT", path, document)
        for name in topology.stack.groups:
            _hand_over_group(stack, settings, name, group_document(topology, name))
        for name, plan in topology.stack.plans.items():
            _hand_over_plan(stack, name, plan_document(plan))
        yield stack


def _hand_over(stack: ReferenceStack, name: str, policy: JSON) -> None:
    """Store a policy unless it is known: every change is a job of each machine under it."""
    try:
        known = dict(stack.policy(name))
    except NotFound:
        known = {}
    if any(known.get(key) != value for key, value in policy.items()):
        stack.put_policy(name, policy)


def _hand_over_group(stack: ReferenceStack, settings: Mapping[str, Mapping[str, Any]], name: str, group: JSON) -> None:
    """Store a group unless it is known. Its members have to be known first; suites switch its option later."""
    try:
        stack.groups.get(name)
    except NotFound:
        for member in group["members"]:
            stack.put_machine(member["name"], settings[member["name"]])
        stack.groups.put(name, group)


def _hand_over_plan(stack: ReferenceStack, name: str, plan: JSON) -> None:
    """Store a plan unless it is known: a plan cannot be changed while a run of it waits for somebody."""
    try:
        known = dict(stack.plan(name))
    except NotFound:
        known = {}
    if known != plan:
        stack.put_plan(name, plan)


def protection_settings(topology: Topology, machine: str) -> dict[str, Any]:
    """Return how a machine is protected, push installation included."""
    mac_of = partial(mac_for, topology.name)
    return machine_settings(topology, machine, mac_of, push_install=push_install(topology, machine))


def push_install(topology: Topology, machine: str) -> JSON:
    """Return how the process server reaches a machine to install the agent. Paths are the process server's."""
    address = next(card.address for card in topology.machines[machine].interfaces if card.address is not None)
    return {
        "address": str(address),
        "user": "root",
        "key_file": f"{PUSH_FOLDER}/key",
        "known_hosts": f"{PUSH_FOLDER}/known_hosts",
        "package": f"{PUSH_FOLDER}/package.tar.gz",
        "passphrase_file": f"{PUSH_FOLDER}/passphrase",
        "ca_file": f"{PUSH_FOLDER}/ca.pem",
        "configuration_server": management_endpoint(topology, machine),
        "settings": mobility_settings(topology, machine),
    }
