"""How a host treats a Kerberos ticket: run inside a machine that has python3-gssapi; copied there as one file.

It speaks the wire format by itself, so that it can do what the stack's own client never does. Prints JSON
``{introduction, http, error}``: the status of the answer to the ticket, then that of the request after it, or null
where it did not come that far, and what was said about a refusal.
"""

from __future__ import annotations

import argparse
import http.client
import json
import ssl
import sys
import tempfile
from typing import Any

SECONDS = 60
INTRODUCTION = "/v1/introduction"
BOUND_TO = b"recovery-tls13-client-finished:"


def ticket(given: argparse.Namespace, connection: ssl.SSLSocket) -> bytes:
    """Return a ticket of ``given.principal`` for ``given.service``, bound to a connection or to another one."""
    import gssapi
    from gssapi.raw import ChannelBindings

    finished = connection.get_channel_binding("tls-unique") or b""
    bound = BOUND_TO + (bytes(len(finished)) if given.elsewhere else finished)
    kind = gssapi.NameType.kerberos_principal
    with tempfile.TemporaryDirectory() as folder:
        store = {"client_keytab": given.keytab, "ccache": f"FILE:{folder}/ccache"}
        context = gssapi.SecurityContext(
            name=gssapi.Name(given.service, kind),
            creds=gssapi.Credentials(name=gssapi.Name(given.principal, kind), usage="initiate", store=store),
            usage="initiate",
            mech=gssapi.MechType.kerberos,
            flags=gssapi.RequirementFlag.mutual_authentication,
            channel_bindings=ChannelBindings(application_data=bound),
        )
        return bytes(context.step() or b"")


def probe(given: argparse.Namespace) -> dict[str, Any]:
    """Show a ticket, then ask for a path, and say what happened."""
    found: dict[str, Any] = {"introduction": None, "http": None, "error": None}
    settings = ssl.create_default_context(cafile=given.ca)
    connection = http.client.HTTPSConnection(given.address, given.port, context=settings, timeout=SECONDS)
    try:
        connection.connect()
        connection.request("POST", INTRODUCTION, ticket(given, connection.sock))
        answer = connection.getresponse()
        found["introduction"], said = answer.status, json.loads(answer.read())
        found["error"] = said.get("error", {}).get("message")
        connection.request("GET", given.path)
        found["http"] = connection.getresponse().status
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the caller wants to know
        found["error"] = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return found


def main() -> None:
    """Run one probe."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    for option in ("--path", "--ca", "--principal", "--keytab", "--service"):
        parser.add_argument(option, required=True)
    parser.add_argument("--elsewhere", action="store_true", help="bind the ticket to another connection")
    sys.stdout.write(json.dumps(probe(parser.parse_args())))


if __name__ == "__main__":
    main()
