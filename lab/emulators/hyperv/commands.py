"""What a command line does: cmd.exe with its limit, and powershell.exe with an encoded script. Nothing else."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable

from lab.emulators.hyperv.powershell.clixml import error_stream
from lab.emulators.hyperv.powershell.interpreter import Cmdlets, run
from lab.emulators.hyperv.powershell.values import Unsupported, items, text
from lab.emulators.hyperv.wsman.shells import Command

MOST_CHARACTERS = 8191
"""Of a command line of cmd.exe [mem]."""
UNSUPPORTED = 97
CODEPAGES = {437: "cp437", 850: "cp850", 1252: "cp1252", 65001: "utf-8"}
_POWERSHELL = re.compile(
    r"powershell(?:\.exe)?((?:\s+-(?:NoProfile|NonInteractive|NoLogo|ExecutionPolicy\s+\w+|InputFormat\s+\w+"
    r"|OutputFormat\s+\w+))*)\s+-(?:EncodedCommand|enc|ec|e)\s+([A-Za-z0-9+/=]+)",
    re.IGNORECASE,
)


def execute(command: Command, machine: str, cmdlets: Callable[[Command], Cmdlets]) -> int:
    """Run a command line and return its exit code; 97: it is outside of what is emulated."""
    line = command.line.strip()
    if len(line) > MOST_CHARACTERS:
        _say(command, "stderr", "The command line is too long.\r\n")
        return 1
    if line.casefold() == "hostname":
        _say(command, "stdout", f"{machine}\r\n")
        return 0
    found = _POWERSHELL.fullmatch(line)
    if found is None:
        _say(command, "stderr", f"EMULATOR: unsupported command line: {line[:60]!r}\r\n")
        return UNSUPPORTED
    try:
        source = base64.b64decode(found[2], validate=True).decode("utf-16-le")
    except (binascii.Error, UnicodeDecodeError):
        _say(command, "stderr", "Cannot process the command because the value of -EncodedCommand is not valid.\r\n")
        return 1
    return _script(command, source, cmdlets(command))


def _script(command: Command, source: str, cmdlets: Cmdlets) -> int:
    try:
        outcome = run(source, cmdlets)
    except Unsupported as error:
        _say(command, "stderr", f"EMULATOR: {error}\r\n")
        return UNSUPPORTED
    lines = [text(value) for item in outcome.output for value in items(item)]
    _say(command, "stdout", "".join(f"{line}\r\n" for line in lines))
    _say(command, "stderr", error_stream(outcome.errors, progress=outcome.progress))
    return outcome.exit_code


def _say(command: Command, stream: str, words: str) -> None:
    """Write as the code page of the shell can: in 437 most letters of the world become question marks."""
    if words:
        command.write(stream, words.encode(CODEPAGES.get(command.codepage, "cp437"), "replace"))
