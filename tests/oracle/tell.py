"""Turns a simulated world into the histories that its writers would have told."""

from __future__ import annotations

from pathlib import Path

from lab.oracle.trials.simulation import World, Write

BATCH = 7


def write_histories(world: World, folder: Path, *, exchanges: bool = True) -> dict[int, Path]:
    """One file for each machine."""
    paths = {}
    for machine in range(len(world.group.members)):
        lines = [f"V 1 {world.group.run} {machine} 1 0"]
        for epoch in sorted(world.writes):
            for lane in world.group.lanes_of(machine):
                lines += lane_lines(world, lane.index, epoch)
        if exchanges:
            lines += [
                f"C {item.peer} {item.sent} {item.arrived} {item.answered} {item.back}"
                for item in world.exchanges
                if item.machine == machine
            ]
        paths[machine] = folder / f"{machine}.history"
        paths[machine].write_text("\n".join(lines) + "\n", encoding="ascii")
    return paths


def lane_lines(world: World, lane: int, epoch: int) -> list[str]:
    base, writes = world.bases[epoch][lane], list(world.writes[epoch][lane])
    lines = [f"E {lane} {epoch} {base} {int(base > 0)}"]
    if base and writes:
        redo = writes.pop(0)
        lines.append(f"D {lane} {epoch} {base} {redo.issued} {redo.acked}")
    pairs = list(zip(writes[::2], writes[1::2], strict=False))
    return lines + [batch_line(lane, epoch, pairs[at : at + BATCH]) for at in range(0, len(pairs), BATCH)]


def batch_line(lane: int, epoch: int, pairs: list[tuple[Write, Write]]) -> str:
    before = pairs[0][0].issued
    words = [f"S {lane} {epoch} {pairs[0][0].seq} {len(pairs)} {before} {pairs[-1][1].acked}"]
    for log, hot in pairs:
        times = (log.issued - before, log.acked - log.issued, hot.issued - log.acked, hot.acked - hot.issued)
        words.append(" ".join(map(str, times)) + " 0")
        before = hot.acked
    return " ".join(words)
