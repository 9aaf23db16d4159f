"""What powershell.exe writes to its error stream: CLIXML, also for progress that nobody asked for."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lab.emulators.hyperv.powershell.values import PowerShellError

WIDTH = 79
PROGRESS = (
    '<Obj S="progress" RefId="0"><TN RefId="0"><T>System.Management.Automation.PSCustomObject</T>'
    '<T>System.Object</T></TN><MS><I64 N="SourceId">1</I64><PR N="Record">'
    "<AV>Preparing modules for first use.</AV><AI>0</AI><Nil /><PI>-1</PI><PC>-1</PC><T>Completed</T><SR>-1</SR>"
    "<SD> </SD></PR></MS></Obj>"
)


def error_stream(errors: Sequence[PowerShellError], *, progress: bool) -> str:
    """Return the whole error stream, empty when there is nothing to say."""
    parts = ([PROGRESS] if progress else []) + [_error(error) for error in errors]
    if not parts:
        return ""
    head = '#< CLIXML\r\n<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04">'
    return f"{head}{''.join(parts)}</Objs>"


def _error(error: PowerShellError) -> str:
    message = str(error)
    lines = [message[start : start + WIDTH] for start in range(0, len(message), WIDTH)]
    lines += [
        f"    + CategoryInfo          : {error.category}",
        f"    + FullyQualifiedErrorId : {error.fqid}",
        " ",
    ]
    return "".join(f'<S S="Error">{escape(line, quote=False)}_x000D__x000A_</S>' for line in lines)
