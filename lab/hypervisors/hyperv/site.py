"""The lab's corner of one host: its session, its names, and the inventory that everything else is built on."""

from __future__ import annotations

from dataclasses import dataclass

from lab.hypervisors.hyperv.describe import Found, found_of, inventory
from lab.hypervisors.hyperv.naming import Names
from lab.hypervisors.hyperv.script import Cmdlet, Pipeline
from lab.hypervisors.hyperv.session import Session
from lab.hypervisors.protocols import NotFound
from lab.waiting import Deadline


@dataclass(frozen=True)
class Site:
    """Session and names."""

    session: Session
    names: Names

    def found(self) -> list[Found]:
        """Return every machine of the lab, by name, in one round trip."""
        return found_of(self.session.read(f"machines of {self.names.lab}", inventory(self.names)), self.names)

    def find(self, name: str) -> Found:
        """Return a machine of the lab, read now. Raises NotFound."""
        found = next((item for item in self.found() if item.name == name), None)
        if found is None:
            raise NotFound(f"machine {name}: does not exist")
        return found

    def change(self, what: str, *cmdlets: Cmdlet | Pipeline, deadline: Deadline | None = None) -> None:
        """Run cmdlets that return nothing, one after another.

        Raises:
            HypervisorError: one of them failed; those before it have been done.
            DeadlineExceeded: they did not end in time.
        """
        pipelines = [item if isinstance(item, Pipeline) else Pipeline(item) for item in cmdlets]
        self.session.run(what, {"done": pipelines}, deadline)
