"""The pages: documents of the API in, HTML out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from lab.replication.configuration_server.site.forms import NOT_BY_HAND, operation_form
from lab.replication.configuration_server.site.markup import Markup, join, table, tag

NS = 10**9
Document = Mapping[str, Any]
STYLE = """body { font: 15px/1.45 sans-serif; margin: 1.5rem auto; max-width: 78rem; padding: 0 1rem; color: #1b1f24; }
table { border-collapse: collapse; margin: 0 0 1.6rem; width: 100%; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { border-bottom: 1px solid #d5d9de; padding: .3rem .6rem .3rem 0; text-align: left; vertical-align: top; }
form { display: inline-flex; gap: .6rem; align-items: end; margin: .2rem .8rem .6rem 0; flex-wrap: wrap; }
.healthy { color: #17693a; } .warning { color: #8a5a00; } .critical, .failed { color: #a11d1d; }
.none { color: #646c76; }
"""


def page(title: str, *content: object) -> str:
    """Return a whole page."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("link", rel="stylesheet", href="/console/style.css"),
    )
    navigation = tag("nav", tag("a", "Overview", href="/console"))
    return "<!DOCTYPE html>\n" + tag("html", head, tag("body", navigation, tag("h1", title), *content), lang="en")


def overview_page(server: str, document: Document) -> str:
    """Return everything at a glance."""
    return page(f"Configuration server {server}", *(part(document) for part in _PARTS))


def machine_page(machine: Document, points: Sequence[Document], jobs: Sequence[Document], token: str) -> str:
    """Return one machine: state, health, operations that are allowed now, recovery points, jobs."""
    name, newest_first = machine["name"], list(reversed(points))
    facts = [
        ("state", machine["state"]),
        ("health", _health(machine)),
        ("causes", _causes(machine)),
        ("direction", machine["direction"]),
        ("age of the newest recovery point", _seconds(machine["rpo_seconds"])),
        ("test machine", machine["test_machine"]),
        ("job", _job_link(machine["job"])),
    ]
    ids = [point["id"] for point in newest_first]
    forms = [operation_form(name, each, ids, token) for each in machine["allowed"] if each not in NOT_BY_HAND]
    rows = [(p["id"], _time(p["end_ns"]), p.get("kind"), p.get("shared")) for p in newest_first]
    return page(
        f"Machine {name}",
        table("Now", ("what", "value"), facts),
        tag("h2", "Operations"),
        *(forms or [tag("p", "none are allowed now", class_="none")]),
        table("Recovery points", ("id", "time of the cut", "kind", "shared as"), rows),
        _jobs({"jobs": jobs}),
    )


def job_page(job: Document) -> str:
    """Return one job with its steps."""
    error = job["error"]
    facts = [
        ("machine", _machine_link(job["machine"])),
        ("operation", job["operation"]),
        ("state", job["state"]),
        ("began", _time(job["started_ns"])),
        ("ended", _time(job["ended_ns"])),
        ("error", f"{error['type']}: {error['message']}" if error else None),
    ]
    steps = [
        (step["name"], step["state"], _time(step["started_ns"]), _time(step["ended_ns"]), step["detail"])
        for step in job["steps"]
    ]
    return page(
        f"Job {job['id']}",
        table("Job", ("what", "value"), facts),
        table("Steps", ("step", "state", "began", "ended", "detail"), steps),
    )


def error_page(status: int, kind: str, message: str) -> str:
    """Return what was refused, and why."""
    return page(f"{status} {kind}", tag("p", message, class_="failed"))


def _alerts(document: Document) -> Markup:
    rows = [
        (_machine_link(each["machine"]), tag("span", each["level"], class_=each["level"]), each["message"],
         _time(each["raised_ns"]))
        for each in document["alerts"]
    ]  # fmt: skip
    return table("Alerts", ("machine", "level", "message", "since"), rows)


def _machines(document: Document) -> Markup:
    rows = [
        (
            _machine_link(each["name"]),
            each["state"],
            _health(each),
            _causes(each),
            _seconds(each["rpo_seconds"]),
            each["recovery_points"],
            _job_link(each["job"]),
        )
        for each in document["machines"]
    ]
    return table("Machines", ("machine", "state", "health", "causes", "newest point", "points", "job"), rows)


def _groups(document: Document) -> Markup:
    rows = [
        (each["name"], ", ".join(member["name"] for member in each["members"]), "on" if each["consistent"] else "off")
        for each in document["groups"]
    ]
    return table("Replication groups", ("group", "members", "multi-VM consistency"), rows)


def _plans(document: Document) -> Markup:
    rows = []
    for each in document["plans"]:
        order = " then ".join(", ".join(group["machines"]) for group in each["groups"])
        last = each["last_run"]
        rows.append((each["name"], order, f"{last['kind']}: {last['state']}" if last else None))
    return table("Recovery plans", ("plan", "order", "last run"), rows)


def _policies(document: Document) -> Markup:
    keys = ("name", "recovery_point_interval_s", "retention_s", "rpo_threshold_s", "application_consistent_interval_s")
    columns = ("policy", "point every, s", "retention, s", "RPO threshold, s", "application-consistent every, s")
    return table("Policies", columns, [[each[key] for key in keys] for each in document["policies"]])


def _components(document: Document) -> Markup:
    rows = [
        (each["id"], each["kind"], ", ".join(each["addresses"]), _time(each["last_seen_ns"]))
        for each in document["components"]
    ]
    return table("Components", ("component", "kind", "addresses", "last heard of"), rows)


def _jobs(document: Document) -> Markup:
    rows = [
        (_job_link(each["id"]), _machine_link(each["machine"]), each["operation"], each["state"],
         _time(each["started_ns"]), _time(each["ended_ns"]))
        for each in document["jobs"]
    ]  # fmt: skip
    return table("Last jobs", ("job", "machine", "operation", "state", "began", "ended"), rows)


_PARTS = (_alerts, _machines, _groups, _plans, _policies, _components, _jobs)


def _health(machine: Document) -> Markup:
    status = machine["health"]["status"]
    return tag("span", status, class_=status)


def _causes(machine: Document) -> Markup | None:
    causes = machine["health"]["causes"]
    return join(tag("div", cause) for cause in causes) if causes else None


def _machine_link(name: str) -> Markup:
    return tag("a", name, href=f"/console/machines/{quote(name)}")


def _job_link(job: str | None) -> Markup | None:
    return None if job is None else tag("a", job, href=f"/console/jobs/{quote(str(job))}")


def _seconds(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.0f} s"


def _time(moment_ns: int | None) -> str | None:
    if moment_ns is None:
        return None
    return datetime.fromtimestamp(moment_ns / NS, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
