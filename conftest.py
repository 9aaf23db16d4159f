"""Loads the lab's fixtures and the recorder; nothing else lives here."""

pytest_plugins = [
    "reports.plugin",
    "fixtures.options",
    "fixtures.selection",
    "fixtures.labs",
    "fixtures.stacks",
    "fixtures.outages",
    "fixtures.workloads",
    "fixtures.databases",
    "fixtures.groups",
    "fixtures.flows",
]
