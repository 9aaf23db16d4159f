"""Defects of replication groups: who is held when, and what is called shared."""

from __future__ import annotations

from lab.defects.model import Defect, Edit, Part

_MEMBER = "mobility.group.member"
_READY = """            self.channel.hear("hold", Deadline.after(prepare_seconds(application=self.application)))
        except ChannelBroken as error:
            raise Abandoned(str(error)) from error
"""
_HELD = """            self.channel.say("held")
            self.channel.hear("release", self._deadline)
"""


def _late(milliseconds: int) -> Defect:
    """Say that writes are held, and hold them a while later."""
    pause = f'        import time\n        self.channel.say("held")\n        time.sleep({milliseconds / 1000})\n'
    return Defect(
        f"member-cut-{milliseconds}-ms-late",
        Part.GROUP,
        f"a member says that it is held {milliseconds} ms before it is",
        ("V2A-MVM-CRASH", "LAB-POINT-IN-TIME"),
        (
            Edit(_MEMBER, _READY, _READY + pause),
            Edit(_MEMBER, _HELD, '            self.channel.hear("release", self._deadline)\n'),
        ),
    )


GROUP: tuple[Defect, ...] = (
    _late(5),
    _late(20),
    _late(100),
    Defect(
        "late-member-shares-anyway",
        Part.GROUP,
        "a point is called shared although a member was not held in time",
        ("V2A-MVM-CRASH", "LAB-POINT-IN-TIME"),
        (Edit("mobility.group.round", "return Outcome(None if causes else round_id,", "return Outcome(round_id,"),),
    ),
    Defect(
        "anybody-starts-rounds",
        Part.GROUP,
        "a member lets any machine of the stack hold its writes",
        ("V2A-PORT-20004", "LAB-MUTUAL-TLS"),
        (
            Edit(
                _MEMBER,
                'if (channel.peer.kind, channel.peer.name) != ("mobility", self._order.coordinator):',
                "if not channel.peer.kind:",
            ),
        ),
    ),
    Defect(
        "stall-without-bound",
        Part.GROUP,
        "a member that waits for a silent coordinator holds its writes six times as long as it may",
        ("LAB-RECOVERY", "V2A-MVM-CRASH"),
        (
            Edit(
                _MEMBER,
                "self._deadline = Deadline.after(self.bound_s)",
                "self._deadline = Deadline.after(6 * self.bound_s)",
            ),
        ),
    ),
    Defect(
        "group-port-on-all-addresses",
        Part.GROUP,
        "a member listens on every address instead of the one that the group uses",
        ("V2A-LEAST", "V2A-PORT-20004"),
        (
            Edit(
                _MEMBER,
                "socket.create_server((order.address_of(me), order.port))",
                'socket.create_server(("", order.port))',
            ),
        ),
    ),
)
