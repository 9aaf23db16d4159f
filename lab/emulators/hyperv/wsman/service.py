"""The remote shell without a transport: the bytes of a request in, status and bytes of the answer out."""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from lab.emulators.common.faults import Delay, Drop, Fail, Faults
from lab.emulators.hyperv.wsman.envelope import (
    BAD_REQUEST,
    CMD,
    SHELL,
    TIMED_OUT,
    TRANSFER,
    Fault,
    Request,
    envelope,
    message_id_of,
    parse,
    seconds,
)
from lab.emulators.hyperv.wsman.shells import (
    COMMANDS_OF_A_SHELL,
    IDLE_SECONDS,
    Command,
    Executor,
    Shell,
    Shells,
)

OK, SERVER_ERROR = 200, 500
CODEPAGE = 437
ENVELOPE_REST = 8192
TOO_LATE = "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.  "
_UNSIGNED = 0xFFFFFFFF


class Dropped(Exception):
    """The connection is to be closed without an answer."""


@dataclass(frozen=True)
class Caller:
    """Who asks; ``endpoint`` is where he did."""

    user: str
    address: str
    endpoint: str


class Service:
    """Implements Create, Command, Send, Receive, Signal and Delete of the shell ``cmd``."""

    def __init__(self, executor: Executor, machine: str, shells: Shells, faults: Faults) -> None:
        self._executor, self._machine = executor, machine
        self.shells, self.faults = shells, faults
        self._closing = threading.Event()
        self._operations = {
            f"{TRANSFER}/Create": self._create,
            f"{TRANSFER}/Delete": self._delete,
            f"{SHELL}/Command": self._command,
            f"{SHELL}/Send": self._send,
            f"{SHELL}/Receive": self._receive,
            f"{SHELL}/Signal": self._signal,
        }

    def handle(self, caller: Caller, raw: bytes) -> tuple[int, bytes]:
        """Answer a request. Raises Dropped when a test wants the connection to break."""
        related = message_id_of(raw)
        try:
            request = parse(raw)
            operation = self._operation(request.action)
            mishap = self.faults.take(request.action.rpartition("/")[2])
            self._suffer(mishap)
            body = operation(caller, request)
        except Fault as fault:
            return SERVER_ERROR, fault.envelope(related, self._machine)
        if isinstance(mishap, Drop):
            raise Dropped
        return OK, envelope(request.action + "Response", related, body)

    def _operation(self, action: str) -> Callable[[Caller, Request], str]:
        found = self._operations.get(action)
        if found is None:
            message = f"The WS-Management service cannot process the request. {action} is not supported."
            raise Fault(BAD_REQUEST, message, "a:ActionNotSupported")
        return found

    def close(self) -> None:
        """End every shell and let nobody wait any longer."""
        self._closing.set()
        self.shells.close()

    def _suffer(self, mishap: Fail | Delay | Drop | None) -> None:
        """Do what a test ordered, as far as that comes before the work."""
        if isinstance(mishap, Fail):
            raise mishap.fault
        if isinstance(mishap, Drop) and not mishap.after:
            raise Dropped
        if isinstance(mishap, Delay):
            self._closing.wait(mishap.seconds)

    def _create(self, caller: Caller, request: Request) -> str:
        element = request.require("rsp:Shell")
        texts = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in element}
        codepage = request.options.get("WINRS_CODEPAGE", "")
        shell = Shell(
            owner=caller.user,
            codepage=int(codepage) if codepage.isascii() and codepage.isdigit() else CODEPAGE,
            streams=(texts.get("InputStreams", "stdin"), texts.get("OutputStreams", "stdout stderr")),
            idle=seconds(texts.get("IdleTimeOut", ""), IDLE_SECONDS),
        )
        given = element.get("ShellId")
        if given:
            shell.id = given
        self.shells.add(shell)
        return _created(shell, caller)

    def _delete(self, caller: Caller, request: Request) -> str:
        self.shells.remove(self.shells.find(caller.user, request.shell_id))
        return ""

    def _command(self, caller: Caller, request: Request) -> str:
        shell = self.shells.find(caller.user, request.shell_id)
        if len(shell.commands) >= COMMANDS_OF_A_SHELL:
            message = f"A shell is allowed {COMMANDS_OF_A_SHELL} commands at one time, which has been exceeded. "
            raise Fault(BAD_REQUEST, message, "w:QuotaLimit")
        words = [request.require("rsp:CommandLine/rsp:Command").text or ""]
        words += [item.text or "" for item in request.find_all("rsp:CommandLine/rsp:Arguments")]
        command = Command(" ".join(words), shell.codepage, self._executor)
        shell.commands[command.id] = command
        return f"<rsp:CommandResponse><rsp:CommandId>{command.id}</rsp:CommandId></rsp:CommandResponse>"

    def _send(self, caller: Caller, request: Request) -> str:
        shell = self.shells.find(caller.user, request.shell_id)
        for stream in request.find_all("rsp:Send/rsp:Stream"):
            command = shell.command(stream.get("CommandId"))
            try:
                command.stdin.put(base64.b64decode(stream.text or "", validate=True))
            except binascii.Error as error:
                raise Fault(BAD_REQUEST, "A stream is no base64.", "w:SchemaValidationError") from error
            if (stream.get("End") or "").casefold() in {"true", "1"}:
                command.stdin.put(None)
        return "<rsp:SendResponse/>"

    def _receive(self, caller: Caller, request: Request) -> str:
        shell = self.shells.find(caller.user, request.shell_id)
        command = shell.command(request.require("rsp:Receive/rsp:DesiredStream").get("CommandId"))
        try:
            chunks, done = command.receive(request.timeout, (request.most - ENVELOPE_REST) * 3 // 4)
        except TimeoutError as error:
            raise Fault(TIMED_OUT, TOO_LATE, "w:TimedOut", receiver=True) from error
        finally:
            shell.touch()
        streams = [
            f'<rsp:Stream Name="{name}" CommandId="{command.id}">{base64.b64encode(data).decode()}</rsp:Stream>'
            for name, data in chunks
        ]
        state = "Running"
        if done:
            state = "Done"
            streams += [f'<rsp:Stream Name="{n}" CommandId="{command.id}" End="true"/>' for n in ("stdout", "stderr")]
        code = f"<rsp:ExitCode>{command.exit_code & _UNSIGNED}</rsp:ExitCode>" if done else ""
        told = f'<rsp:CommandState CommandId="{command.id}" State="{SHELL}/CommandState/{state}">{code}'
        return f"<rsp:ReceiveResponse>{''.join(streams)}{told}</rsp:CommandState></rsp:ReceiveResponse>"

    def _signal(self, caller: Caller, request: Request) -> str:
        shell = self.shells.find(caller.user, request.shell_id)
        element = request.require("rsp:Signal")
        code = request.require("rsp:Signal/rsp:Code").text or ""
        command = shell.commands.get(element.get("CommandId") or "")
        if command is not None:
            command.cancelled.set()
            # pywinrm writes "terminate", pypsrp "Terminate".
            if code.rpartition("/")[2].casefold() == "terminate":
                del shell.commands[command.id]
        return "<rsp:SignalResponse/>"


def _created(shell: Shell, caller: Caller) -> str:
    told = {
        "ShellId": shell.id,
        "ResourceUri": CMD,
        "Owner": caller.user,
        "ClientIP": caller.address,
        "IdleTimeOut": f"PT{shell.idle:.3f}S",
        "InputStreams": shell.streams[0],
        "OutputStreams": shell.streams[1],
        "ShellRunTime": "P0DT0H0M0S",
        "ShellInactivity": "P0DT0H0M0S",
    }
    fields = "".join(f"<rsp:{name}>{escape(text)}</rsp:{name}>" for name, text in told.items())
    return (
        f"<x:ResourceCreated><a:Address>{escape(caller.endpoint)}</a:Address><a:ReferenceParameters>"
        f'<w:ResourceURI>{CMD}</w:ResourceURI><w:SelectorSet><w:Selector Name="ShellId">{escape(shell.id)}</w:Selector>'
        f"</w:SelectorSet></a:ReferenceParameters></x:ResourceCreated><rsp:Shell>{fields}</rsp:Shell>"
    )
