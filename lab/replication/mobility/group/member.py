"""A member's side: it listens on the group's port, and makes its cuts when the coordinator says so."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from lab.replication.common.control import CommandFailed
from lab.replication.common.tls import UnknownPeer
from lab.replication.mobility.capture import Cut
from lab.replication.mobility.group.channel import Channel, ChannelBroken
from lab.replication.mobility.group.order import GroupOrder
from lab.replication.mobility.hooks import HOOK_S
from lab.replication.mobility.rendezvous import Abandoned, Rendezvous
from lab.waiting import Deadline

log = logging.getLogger(__name__)

PREPARE_S = 20.0
AGREE_S = 20.0
IDLE_S = 3600.0
HANDSHAKE_S = 10.0
ACCEPT_S = 0.5
JOIN_S = 5.0


def prepare_seconds(*, application: bool) -> float:
    """Return how long one waits for the others' logs, which come after the scripts that quiet applications."""
    return PREPARE_S + (HOOK_S if application else 0.0)


class Cutter(Protocol):
    """What makes a cut that several machines share."""

    def shared_cut(self, meeting: Meeting, *, application: bool) -> None:
        """Cut, meeting the others on the way, and keep the changes with what was agreed.

        Raises:
            CommandFailed: this machine is not replicating.
            Abandoned: the others did not come.
        """


class Meeting(Rendezvous, Protocol):
    """A rendezvous that ends with an agreement."""

    def agree(self, cut: Cut) -> str | None:
        """Tell the others about the cut; return the id of the shared point, None when there is none."""


@dataclass
class MemberMeeting:
    """A member in one round: what the coordinator says decides, but never for longer than the bound."""

    channel: Channel
    bound_s: float
    application: bool = False
    in_time: bool = False
    stall_ns: int = 0
    _deadline: Deadline = field(default_factory=lambda: Deadline.after(0), repr=False)

    def ready(self) -> None:
        """Wait for the word to hold. Raises Abandoned."""
        try:
            self.channel.say("ready")
            self.channel.hear("hold", Deadline.after(prepare_seconds(application=self.application)))
        except ChannelBroken as error:
            raise Abandoned(str(error)) from error
        # From here on writes stop one by one, so this is when the stall begins at the earliest.
        self._deadline = Deadline.after(self.bound_s)

    def held(self) -> None:
        """Wait for the word to go on, or for the bound."""
        try:
            self.channel.say("held")
            self.channel.hear("release", self._deadline)
            self.in_time = not self._deadline.expired
        except ChannelBroken:
            self.in_time = False
        self.stall_ns = int((self.bound_s - self._deadline.remaining) * 1e9)

    def agree(self, cut: Cut) -> str | None:
        """Say when the cut was, and return the shared point that the coordinator announces."""
        try:
            self.channel.say(
                "cut", in_time=self.in_time, begin_ns=cut.begin_ns, end_ns=cut.end_ns, stall_ns=self.stall_ns
            )
            shared = self.channel.hear("agreed", Deadline.after(AGREE_S)).get("shared")
        except ChannelBroken as error:
            log.warning("no agreement on a shared point: %s", error)
            return None
        # Whatever the other side claims: a cut that was not in time is of another instant.
        return str(shared) if shared and self.in_time else None


class GroupServer:
    """Listens while the group exists. Only the coordinator's certificate opens a conversation."""

    def __init__(self, order: GroupOrder, me: str, context: ssl.SSLContext, cutter: Cutter) -> None:
        self._order = order
        self._context = context
        self._cutter = cutter
        self._stop = threading.Event()
        # Where the others reach this machine, and nowhere else.
        self._listener = socket.create_server((order.address_of(me), order.port))
        self._listener.settimeout(ACCEPT_S)
        self._channels: set[Channel] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept_always, name="group-port", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def close(self) -> None:
        """Close the port and every conversation."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        self._listener.close()
        with self._lock:
            for channel in self._channels:
                with suppress(OSError):
                    channel.connection.shutdown(socket.SHUT_RDWR)

    def _accept_always(self) -> None:
        while not self._stop.is_set():
            try:
                plain, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            threading.Thread(target=self._converse, args=(plain,), name="group-member", daemon=True).start()

    def _converse(self, plain: socket.socket) -> None:
        channel = self._channel(plain)
        if channel is None:
            return
        with self._lock:
            self._channels.add(channel)
        try:
            while not self._stop.is_set():
                self._take_part(channel)
        except ChannelBroken as error:
            log.info("the coordinator's conversation has ended: %s", error)
        finally:
            with self._lock:
                self._channels.discard(channel)
            channel.close()

    def _channel(self, plain: socket.socket) -> Channel | None:
        """Return the coordinator's channel; anybody else is refused."""
        try:
            plain.settimeout(HANDSHAKE_S)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            channel = Channel.of(self._context.wrap_socket(plain, server_side=True))
        except (OSError, UnknownPeer) as error:
            log.warning("refused a connection to the group's port: %s", error)
            plain.close()
            return None
        if (channel.peer.kind, channel.peer.name) != ("mobility", self._order.coordinator):
            log.warning("refused %s %s at the group's port", channel.peer.kind, channel.peer.name)
            channel.close()
            return None
        return channel

    def _take_part(self, channel: Channel) -> None:
        message = channel.hear("prepare", Deadline.after(IDLE_S))
        application = bool(message.get("application"))
        meeting = MemberMeeting(channel, self._order.stall_bound_s, application)
        try:
            self._cutter.shared_cut(meeting, application=application)
        except (CommandFailed, Abandoned) as error:
            with suppress(ChannelBroken):
                channel.say("refuse", why=str(error))
            raise ChannelBroken(f"no part in round {message.get('round')}: {error}") from error
