"""How libvirt of a host is reached: over the ``ssh`` program, with one key and the only host key that is accepted.

Not over ``libssh``: there a call of libvirt 9 waited for ever although the host was well (decision 0019). The program
also notices a host that is gone, and ends every call with it.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import quote, urlencode

from lab.hypervisors.nested.host import Access

ALIVE_SECONDS, ALIVE_MISSED = 15, 10
"""A host whose machines all start at once has been silent for a minute; after 150 s it counts as gone."""
CONNECT_SECONDS = 60


def uri_of(access: Access, command: Path) -> str:
    """Return the address of the host's libvirt; ``command`` is run in place of ``ssh``."""
    options = {"keyfile": str(access.key), "command": str(command), "no_tty": "1"}
    where = f"root@{access.endpoint.host}:{access.endpoint.port}"
    return f"qemu+ssh://{where}/system?{urlencode(options, quote_via=quote)}"


def write_command(access: Access) -> Path:
    """Write the program that libvirt runs to reach the host, beside the key, and return its path. Raises OSError."""
    options = (
        f'UserKnownHostsFile="{access.known_hosts}"',
        "StrictHostKeyChecking=yes",
        "IdentitiesOnly=yes",
        f"ConnectTimeout={CONNECT_SECONDS}",
        f"ServerAliveInterval={ALIVE_SECONDS}",
        f"ServerAliveCountMax={ALIVE_MISSED}",
    )
    flags = shlex.join(word for option in options for word in ("-o", option))
    path = access.known_hosts.parent / f"reach-{access.name}"
    path.write_text(f'#!/bin/sh\nexec ssh -F none {flags} "$@"\n', encoding="utf-8")
    path.chmod(0o700)
    return path
