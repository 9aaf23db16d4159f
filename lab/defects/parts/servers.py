"""Defects of the process server and of what it shares with the master target."""

from __future__ import annotations

from functools import partial

from lab.defects.model import Defect, Part, seeded

_SERVER, _STREAM, _INBOX = "process_server.server", "process_server.stream", "common.inbox"
_OPTIMISED = "common.optimised"


_defect = partial(seeded, Part.PROCESS_SERVER)


PROCESS_SERVER: tuple[Defect, ...] = (
    _defect(
        "cache-lost-at-restart",
        "a process server that starts again forgets what it had acknowledged",
        ("V2A-PS-CACHE", "LAB-RECOVERY"),
        (
            _INBOX,
            'for leftover in directory.glob("*.part"):',
            'for leftover in [*directory.glob("*.part"), *directory.glob("*.doc")]:',
        ),
    ),
    _defect(
        "compression-off",
        "data is passed on as it came",
        ("V2A-PS-COMPRESS", "V2S-PS-OPT"),
        (_OPTIMISED, "smaller = frame.compressed(codec)", "smaller = frame"),
    ),
    _defect(
        "stages-out-of-order",
        "data is optimised before it has been received, as far as the records say",
        ("V2A-PS-ORDER", "V2S-PS-XFER"),
        (_OPTIMISED, "self.optimised_ns = time.time_ns()", "self.optimised_ns = 1"),
    ),
    _defect(
        "port-setting-ignored",
        "the data port stays what it was",
        ("V2A-PORT-9443-CONF",),
        (
            _SERVER,
            "self._server.listen_on({stream.settings.data_port for stream in self._streams.values()} or {self._idle_port})",
            "self._server.listen_on({self._idle_port})",
        ),
    ),
    _defect(
        "any-agent-may-send",
        "an agent may send into the stream of another machine",
        ("LAB-MUTUAL-TLS", "V2A-PORT-9443"),
        (
            _SERVER,
            'request.allow("mobility", name=stream.settings.machine if stream else None)',
            'request.allow("mobility")',
        ),
    ),
    _defect(
        "ended-session-accepted",
        "a stream that was closed goes on taking data",
        ("LAB-FENCE",),
        (
            _SERVER,
            "stream = self._streams.pop(name, None)\n        if stream is not None:\n            stream.delete()\n",
            "stream = self._streams.get(name)\n",
        ),
    ),
    _defect(
        "cache-has-no-bound",
        "the cache may fill the disk",
        ("V2A-PS-CACHE",),
        (_SERVER, "room = self._quota - sum(", "room = (1 << 60) - sum("),
    ),
    _defect(
        "damaged-document-taken",
        "what arrives is stored and acknowledged without looking at it",
        ("V2A-PS-GATEWAY",),
        ("common.ingest", "            verify_received(part, stream, sequence)\n", ""),
    ),
    _defect(
        "gap-taken",
        "a document is taken although one before it is missing",
        ("V2A-PS-GATEWAY", "LAB-WRITE-ORDER"),
        (_INBOX, "        if sequence > self.received + 1:\n            raise Gap(self.received + 1)\n", ""),
    ),
    _defect(
        "drain-does-not-wait",
        "a failover is told that everything is applied while it is not",
        ("LAB-RPO", "V2A-UFO"),
        (
            _STREAM,
            'wait_until(lambda: self._applied(last), deadline, f"application of document {last}", every=0.1)',
            "self._applied(last)",
        ),
    ),
    _defect(
        "any-storage-trusted",
        "data goes to any server that says it is the storage",
        ("V2A-PORT-443-PS-OUT", "V2A-PS-ENCRYPT"),
        (
            "process_server.storage",
            "                    connection_verify=self._authority(access),\n",
            "                    connection_verify=False,\n",
        ),
    ),
    _defect(
        "sealed-stream-takes-data",
        "a stream that moves to another process server goes on here",
        ("V2A-PS-SCALE",),
        (_INBOX, "            if self.sealed or self._retired:\n                raise Sealed\n", ""),
    ),
)
