"""One command at a time may change a lab. The lock ends with its process, however that ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.errors import LabError
from lab.locks import taken
from lab.provision.home import Home


@contextmanager
def leased(home: Home, lab: str) -> Iterator[None]:
    """Hold the lab's lease inside the block.

    Raises:
        BadInput: that is no name for a lab.
        LabError: another command works with this lab.
    """
    lease = home.folder / "leases" / home.lab(lab).name
    lease.parent.mkdir(parents=True, exist_ok=True)
    with lease.open("w", encoding="utf-8") as file:
        if not taken(file):
            message = f"another command is working with lab {lab}"
            raise LabError(message, hint="wait for it, or give this one another --name")
        yield
