"""Checkpoints of a machine: without memory, of all its disks in one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.hypervisors.hyperv.script import Cmdlet, Given, Pipeline, Switch
from lab.hypervisors.hyperv.site import Site
from lab.hypervisors.model import SnapshotId
from lab.hypervisors.protocols import NotFound
from lab.waiting import Deadline

MERGE_SECONDS = 3600.0
READ = ("Id", "Name", "CreationTime")


@dataclass(frozen=True)
class CheckpointAbility:
    """Create, list, revert to and remove checkpoints. Which blocks changed is told by WMI only, which is not used."""

    site: Site

    def create_snapshot(self, machine: str, name: str) -> SnapshotId:
        """Freeze every disk of a machine in one moment. Raises NotFound, Conflict."""
        full = self.site.find(machine).full_name
        taken = Cmdlet("Checkpoint-VM", {"Name": full, "SnapshotName": name, "Passthru": Switch.ON})
        rows = self.site.session.run(f"checkpoint of {machine}", {"made": [Pipeline(taken, select=READ)]})
        return SnapshotId(str(rows["made"][0]["Id"]), name)

    def snapshots(self, machine: str) -> Sequence[SnapshotId]:
        """Return a machine's checkpoints, the oldest first. Raises NotFound."""
        full = self.site.find(machine).full_name
        query = Pipeline(Cmdlet("Get-VMSnapshot", {"VMName": full}), select=READ)
        rows = self.site.session.read(f"checkpoints of {machine}", {"found": [query]})["found"]
        rows.sort(key=lambda row: _milliseconds(str(row["CreationTime"])))
        return [SnapshotId(str(row["Id"]), str(row["Name"])) for row in rows]

    def revert(self, machine: str, snapshot: SnapshotId) -> None:
        """Bring a machine back to a checkpoint; it is off afterwards. Raises NotFound."""
        self._require(machine, snapshot)
        self._each(f"return of {machine}", snapshot, "Restore-VMSnapshot", {"Confirm": Switch.OFF})

    def remove_snapshot(self, snapshot: SnapshotId) -> None:
        """Remove a checkpoint; what was written since it stays. Raises NotFound."""
        self._each(f"checkpoint {snapshot.name}", snapshot, "Remove-VMSnapshot", {})

    def _require(self, machine: str, snapshot: SnapshotId) -> None:
        if snapshot.key not in {item.key for item in self.snapshots(machine)}:
            raise NotFound(f"checkpoint {snapshot.name} of {machine}: does not exist")

    def _each(self, what: str, snapshot: SnapshotId, cmdlet: str, given: Given) -> None:
        found = Cmdlet("Get-VMSnapshot", {"Id": snapshot.key})
        if not self.site.session.read(what, {"found": [Pipeline(found, select=("Name",))]})["found"]:
            raise NotFound(f"{what}: does not exist")
        self.site.change(what, Pipeline(found, Cmdlet(cmdlet, given)), deadline=Deadline.after(MERGE_SECONDS))


def _milliseconds(date: str) -> int:
    """Return the number in a date of Windows PowerShell 5.1, /Date(1700000000000)/."""
    return int("".join(letter for letter in date if letter.isdigit()) or "0")
