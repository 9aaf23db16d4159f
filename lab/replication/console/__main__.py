"""``python3 -m lab.replication.console [--config FILE] [--json] status|machine|points|jobs|job|do ...``.

Exit code 0: it was done; 1: it was refused, has failed or nobody answers; 2: a wrong command line or configuration.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from lab.replication.common.config import BadConfig, load_config
from lab.replication.common.durable import JSON
from lab.replication.common.link import Unreachable
from lab.replication.console.client import Client, Refused
from lab.replication.console.text import PARTS, facts, listing
from lab.waiting import DeadlineExceeded

DEFAULT_CONFIG = Path("/etc/recovery/console.json")
DONE, FAILED, USAGE = 0, 1, 2
SUCCEEDED = "succeeded"

Shown = tuple[JSON, str]
"""A document, and the same as text."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = _parser().parse_args(arguments)
    try:
        config = load_config(given.config)
        with Client(config) as client:
            document, text = COMMANDS[given.command](client, given)
    except (BadConfig, OSError) as error:
        # A server that does not answer is an OSError too, but no mistake of the user.
        return _complain(error, FAILED if isinstance(error, Unreachable) else USAGE)
    except Refused as error:
        return _complain(f"{error.kind}: {error}", FAILED)
    except DeadlineExceeded as error:
        return _complain(error, FAILED)
    sys.stdout.write((json.dumps(document, indent=1) if given.json else text) + "\n")
    return FAILED if given.command == "do" and document.get("state") not in (None, SUCCEEDED) else DONE


def _status(client: Client, given: argparse.Namespace) -> Shown:
    document = client.overview()
    parts = [given.part] if given.part else PARTS
    return document, "\n\n".join(listing(part, document[part]) for part in parts)


def _machine(client: Client, given: argparse.Namespace) -> Shown:
    document = client.machine(given.name)
    causes = "\n".join(f"cause: {cause}" for cause in document["health"]["causes"])
    allowed = f"allowed now: {', '.join(document['allowed']) or 'nothing'}"
    health = f"health: {document['health']['status']}"
    return document, "\n".join(part for part in (facts(document), health, causes, allowed) if part)


def _points(client: Client, given: argparse.Namespace) -> Shown:
    points = client.points(given.name)
    return {"recovery_points": points}, listing("recovery_points", points)


def _jobs(client: Client, given: argparse.Namespace) -> Shown:
    jobs = client.jobs(given.name)
    return {"jobs": jobs}, listing("jobs", jobs)


def _job(client: Client, given: argparse.Namespace) -> Shown:
    return _with_steps(client.job(given.number))


def _do(client: Client, given: argparse.Namespace) -> Shown:
    number = client.start(given.name, given.operation, given.arguments)
    if given.wait is None:
        return {"job": number}, f"job {number}"
    return _with_steps(client.wait(number, given.wait))


def _with_steps(job: JSON) -> Shown:
    error = job["error"]
    told = [f"error: {error['type']}: {error['message']}"] if error else []
    return job, "\n".join([facts(job), *told, listing("steps", job["steps"])])


COMMANDS: Mapping[str, Callable[[Client, argparse.Namespace], Shown]] = {
    "status": _status,
    "machine": _machine,
    "points": _points,
    "jobs": _jobs,
    "job": _job,
    "do": _do,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recovery-console", description="manage and monitor protected machines")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG)
    parser.add_argument("--json", action="store_true", help="print the document instead of text")
    commands = parser.add_subparsers(dest="command", required=True)
    status = commands.add_parser("status", help="everything at a glance, or one part of it")
    status.add_argument("part", nargs="?", choices=PARTS)
    for command in ("machine", "points", "jobs"):
        commands.add_parser(command, help=f"{command} of one machine").add_argument("name")
    commands.add_parser("job", help="a job with its steps").add_argument("number")
    do = commands.add_parser("do", help="start an operation of a machine")
    do.add_argument("name")
    do.add_argument("operation")
    do.add_argument("--arguments", type=_object, default={}, help='JSON, such as {"recovery_point": "latest"}')
    do.add_argument("--wait", type=float, metavar="SECONDS", help="wait for the end of the job")
    return parser


def _object(text: str) -> JSON:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"this is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("a JSON object is expected")
    return value


def _complain(problem: object, code: int) -> int:
    sys.stderr.write(f"recovery-console: {problem}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
