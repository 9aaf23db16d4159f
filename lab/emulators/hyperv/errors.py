"""Error records of cmdlets. What facts/hyperv-and-bmc.md does not quote of real hosts is [mem]."""

from __future__ import annotations

from lab.emulators.hyperv.powershell.values import PowerShellError


class CmdletError(Exception):
    """A cmdlet failed; ``word`` is the first half of the FullyQualifiedErrorId, the cmdlet is added by who calls it."""

    def __init__(self, word: str, message: str, category: str = "NotSpecified: (:)") -> None:
        super().__init__(message)
        self.word, self.category = word, category

    def record(self, command: str) -> PowerShellError:
        """Return the error record of a .NET class."""
        return PowerShellError(str(self), f"{self.word},{command}", self.category)


def no_machine(name: str) -> CmdletError:
    """No virtual machine has this name."""
    message = f'Hyper-V was unable to find a virtual machine with name "{name}".'
    return CmdletError("InvalidParameter", message, "InvalidArgument: (:)")


def wrong_state(name: str) -> CmdletError:
    """The state of the machine does not allow this."""
    message = f"'{name}' cannot do that: The operation cannot be performed while the object is in its current state."
    return CmdletError("InvalidState", message, "InvalidOperation: (:)")


def missing(what: str) -> CmdletError:
    """An object that a parameter names is not there."""
    return CmdletError("InvalidParameter", f"{what} was not found.", "InvalidArgument: (:)")


def no_path(path: str) -> CmdletError:
    """No file has this path."""
    return CmdletError("PathNotFound", f"Cannot find path '{path}' because it does not exist.", "ObjectNotFound: (:)")


def exists(path: str) -> CmdletError:
    """The file is there already."""
    message = f"The system failed to create '{path}': The file exists. (0x80070050)."
    return CmdletError("OperationFailed", message, "ResourceExists: (:)")


def in_use(path: str) -> CmdletError:
    """A process has the file open."""
    message = f"The process cannot access '{path}' because it is being used by another process. (0x80070020)."
    return CmdletError("OperationFailed", message, "ResourceUnavailable: (:)")


def failed(message: str) -> CmdletError:
    """What is below has refused."""
    return CmdletError("OperationFailed", message)
