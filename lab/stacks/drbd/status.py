"""What DRBD says of itself, and what it means for the life of a protected machine. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lab.stacks.errors import StackError
from lab.stacks.machines import Health, MachineState, Operation

KIB = 1024
_LINE = re.compile(
    r"^ *(?P<minor>\d+): cs:(?P<connection>\w+) ro:(?P<role>\w+)/(?P<peer_role>\w+)"
    r" ds:(?P<disk>\w+)/(?P<peer_disk>\w+)",
    re.MULTILINE,
)
_COUNTERS = re.compile(r"\b(pe|ap|oos):(\d+)")
SYNCHRONISING = frozenset({"SyncSource", "SyncTarget", "WFBitMapS", "WFBitMapT", "StartingSyncS", "PausedSyncS"})


@dataclass(frozen=True)
class Side:
    """One machine's view. ``out_of_sync`` in bytes; ``pending``: requests to the other side without an answer."""

    connection: str
    role: str
    disk: str
    peer_disk: str
    out_of_sync: int
    pending: int

    @property
    def primary(self) -> bool:
        """Whether this machine may write."""
        return self.role == "Primary"

    @property
    def synchronising(self) -> bool:
        """Whether blocks are being copied in the background."""
        return self.connection in SYNCHRONISING

    @property
    def whole(self) -> bool:
        """Whether both sides hold the same, as far as this one knows."""
        return (self.connection, self.disk, self.peer_disk) == ("Connected", "UpToDate", "UpToDate")


@dataclass(frozen=True)
class Pair:
    """Both views; None from a machine that has no power, or on which the resource is not up."""

    source: Side | None
    standby: Side | None

    @property
    def active(self) -> Side | None:
        """The side that is primary."""
        return next((side for side in (self.source, self.standby) if side is not None and side.primary), None)

    @property
    def behind_bytes(self) -> int | None:
        """What the side that is not primary lacks; None when nobody knows, as nobody is primary."""
        side = self.active
        if side is None:
            return None
        return side.out_of_sync if side.whole and not side.pending else max(1, side.out_of_sync)


def parse(text: str, minor: int = 0) -> Side | None:
    """Read /proc/drbd; None when the minor is not configured. Raises StackError for another version than 8.4."""
    if not text.startswith("version: 8.4."):
        raise StackError(f"this is not DRBD 8.4: {text.splitlines()[0] if text else 'no /proc/drbd'}")
    lines = list(_LINE.finditer(text))
    found = next((number for number, line in enumerate(lines) if int(line["minor"]) == minor), None)
    if found is None:
        return None
    line, *later = lines[found:]
    counters = text[line.end() : later[0].start() if later else len(text)]
    counted = {name: int(value) for name, value in _COUNTERS.findall(counters)}
    return Side(
        line["connection"],
        line["role"],
        line["disk"],
        line["peer_disk"],
        counted.get("oos", 0) * KIB,
        counted.get("pe", 0) + counted.get("ap", 0),
    )


def state_of(pair: Pair) -> MachineState:
    """Return where a machine is in its life."""
    source, standby = pair.source, pair.standby
    if standby is not None and standby.primary:
        if source is None:
            return MachineState.FAILED_OVER
        return MachineState.PROTECTED_REVERSE if standby.whole else MachineState.REPROTECTING
    if source is not None and source.primary:
        first_copy = source.peer_disk == "Inconsistent"
        return MachineState.INITIAL_REPLICATION if first_copy else MachineState.PROTECTED
    if source is None and standby is None:
        return MachineState.UNPROTECTED
    # Nobody is primary: the source has lost its power, or has just come back from that.
    return MachineState.PROTECTED


def allowed(state: MachineState) -> tuple[Operation, ...]:
    """Return what is legal in a state."""
    return {
        MachineState.UNPROTECTED: (Operation.ENABLE,),
        MachineState.PROTECTED: (Operation.FAILOVER, Operation.DISABLE),
        MachineState.FAILED_OVER: (Operation.REPROTECT,),
        MachineState.PROTECTED_REVERSE: (Operation.FAILBACK,),
    }.get(state, ())


def health_of(pair: Pair, state: MachineState) -> Health:
    """Return whether the replica follows, and why not."""
    if state is MachineState.UNPROTECTED:
        return Health("healthy")
    side = pair.active
    if side is None:
        return Health("critical", ("neither machine is primary",))
    if side.peer_disk == "DUnknown":
        return Health("critical", (f"link-down: {side.connection}",))
    if not side.whole:
        return Health("warning", (f"{side.connection}, {side.disk}/{side.peer_disk}",))
    return Health("healthy")
