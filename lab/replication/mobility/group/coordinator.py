"""The coordinator's side: it makes the rounds, and is a member like any other in them."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from lab.replication.common.control import CommandFailed
from lab.replication.mobility.capture import Cut
from lab.replication.mobility.group.channel import Channel, ChannelBroken
from lab.replication.mobility.group.member import AGREE_S, Cutter, prepare_seconds
from lab.replication.mobility.group.order import GroupOrder, Member
from lab.replication.mobility.group.round import Outcome, Part, conclude
from lab.waiting import Deadline

log = logging.getLogger(__name__)

CONNECT_S = 5.0

T = TypeVar("T")


@dataclass
class CoordinatorMeeting:
    """The coordinator in one round. Members that fail are left out; their cut may still be their own."""

    order: GroupOrder
    me: str
    round_id: str
    channels: dict[str, Channel]
    problems: dict[str, str]
    application: bool
    outcome: Outcome | None = None
    _parts: dict[str, Part] = field(default_factory=dict, repr=False)
    _deadline: Deadline = field(default_factory=lambda: Deadline.after(0), repr=False)
    _stall_ns: int = 0
    _in_time: bool = False

    def begin(self) -> None:
        """Have all members prepare."""
        self._each(lambda channel: channel.say("prepare", round=self.round_id, application=self.application))

    def ready(self) -> None:
        """Wait for the members' logs, then have all hold."""
        deadline = Deadline.after(prepare_seconds(application=self.application))
        self._each(lambda channel: channel.hear("ready", deadline))
        self._deadline = Deadline.after(self.order.stall_bound_s)
        self._each(lambda channel: channel.say("hold"))

    def held(self) -> None:
        """Wait until all are held, or for the bound; then have all go on."""
        self._each(lambda channel: channel.hear("held", self._deadline))
        self._in_time = not self._deadline.expired
        self._each(lambda channel: channel.say("release"))
        self._stall_ns = int((self.order.stall_bound_s - self._deadline.remaining) * 1e9)

    def agree(self, cut: Cut) -> str | None:
        """Collect what the members did, decide, and announce it."""
        self._parts[self.me] = Part(self._in_time, cut.begin_ns, cut.end_ns, self._stall_ns)
        deadline = Deadline.after(AGREE_S)
        for name, message in self._each(lambda channel: channel.hear("cut", deadline)).items():
            try:
                self._parts[name] = Part.from_json(message)
            except (KeyError, TypeError, ValueError) as error:
                self.problems[name] = f"its cut cannot be read: {error!r}"
        names = [member.name for member in self.order.members]
        self.outcome = conclude(self.round_id, names, self._parts, self.problems)
        shared = self.outcome.shared
        self._each(lambda channel: channel.say("agreed", shared=shared))
        return shared

    def _each(self, act: Callable[[Channel], T]) -> dict[str, T]:
        """Do something with every member that is still there; one that fails is dropped, with the reason."""
        done: dict[str, T] = {}
        for name, channel in list(self.channels.items()):
            try:
                done[name] = act(channel)
            except ChannelBroken as error:
                self.problems[name] = str(error)
                channel.close()
                del self.channels[name]
        return done


class Coordinator:
    """Makes rounds with kept connections. ``noted`` hears of every outcome."""

    def __init__(
        self,
        order: GroupOrder,
        me: str,
        context: ssl.SSLContext,
        cutter: Cutter,
        noted: Callable[[Outcome], None],
    ) -> None:
        self._order = order
        self._me = me
        # Members are known by the names in their certificates: a replica has another address than its certificate says.
        context.check_hostname = False
        self._context = context
        self._cutter = cutter
        self._noted = noted
        self._channels: dict[str, Channel] = {}
        self._lock = threading.Lock()

    def round(self, *, application: bool = False) -> Outcome:
        """Make a cut of all members that can be reached; it is shared only if all took part and were in time.

        Raises:
            CommandFailed: this machine itself is not replicating.
        """
        with self._lock:
            problems = self._connect()
            round_id = f"{self._order.name}-{time.time_ns() // 1_000_000}"
            meeting = CoordinatorMeeting(
                self._order, self._me, round_id, dict(self._channels), problems, application=application
            )
            meeting.begin()
            try:
                self._cutter.shared_cut(meeting, application=application)
            except CommandFailed:
                # The members are waiting for a word that will not come.
                self._hang_up()
                raise
            self._channels = meeting.channels
        if meeting.outcome is None:
            raise CommandFailed("no-instant", "the round ended without a cut")
        self._noted(meeting.outcome)
        return meeting.outcome

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            self._hang_up()

    def _connect(self) -> dict[str, str]:
        """Open what is missing, side by side; return why somebody cannot be reached."""
        problems: dict[str, str] = {}
        missing = [member for member in self._order.others(self._me) if member.name not in self._channels]
        deadline = Deadline.after(CONNECT_S)

        def connect(member: Member) -> None:
            try:
                channel = Channel.connect(member.address, self._order.port, self._context, deadline)
            except (ChannelBroken, PermissionError) as error:
                problems[member.name] = str(error)
                return
            if (channel.peer.kind, channel.peer.name) != ("mobility", member.name):
                problems[member.name] = f"{member.address} is {channel.peer.kind} {channel.peer.name}"
                channel.close()
                return
            self._channels[member.name] = channel

        threads = [threading.Thread(target=connect, args=(member,), daemon=True) for member in missing]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(CONNECT_S + CONNECT_S)
        return problems

    def _hang_up(self) -> None:
        for channel in self._channels.values():
            channel.close()
        self._channels = {}
