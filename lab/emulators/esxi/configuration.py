"""What a ConfigSpec makes of a machine's configuration, short of its devices."""

from __future__ import annotations

import re
import uuid
from typing import Any

from pyVmomi import vim, vmodl

MOST_CPUS = 64
LEAST_MEMORY_MIB = 4
_NAME = re.compile(r"[^/\\%\x00-\x1f]{1,80}")


def new_config(spec: Any) -> Any:
    """Return the configuration of a new machine. Raises InvalidName, InvalidArgument."""
    config = vim.vm.ConfigInfo(
        name=checked_name(spec.name),
        uuid=str(uuid.uuid4()),
        instanceUuid=str(uuid.uuid4()),
        guestId="otherGuest64",
        guestFullName="Other (64-bit)",
        version="vmx-19",
        annotation="",
        template=False,
        changeTrackingEnabled=False,
        extraConfig=[],
        firmware="bios",
        hardware=vim.vm.VirtualHardware(numCPU=1, memoryMB=32, numCoresPerSocket=1, device=[]),
    )
    change(config, spec)
    return config


def change(config: Any, spec: Any) -> None:
    """Apply everything but devices and files. Raises InvalidName, InvalidArgument."""
    if spec.name:
        config.name = checked_name(spec.name)
    for field in ("annotation", "guestId", "uuid", "instanceUuid", "firmware", "changeTrackingEnabled"):
        value = getattr(spec, field)
        if value is not None:
            setattr(config, field, value)
    if spec.numCPUs is not None:
        config.hardware.numCPU = _within("numCPUs", spec.numCPUs, 1, MOST_CPUS)
    if spec.memoryMB is not None:
        config.hardware.memoryMB = _within("memoryMB", spec.memoryMB, LEAST_MEMORY_MIB, 1 << 24)
    if spec.extraConfig:
        set_options(config, {option.key: option.value for option in spec.extraConfig})


def set_options(config: Any, options: dict[str, Any]) -> None:
    """Change extraConfig; an empty value removes a key."""
    present = {option.key: option.value for option in config.extraConfig} | options
    config.extraConfig = [
        vim.option.OptionValue(key=key, value=value) for key, value in present.items() if value not in {"", None}
    ]


def option(config: Any, key: str) -> str | None:
    """Return the value of a key in extraConfig."""
    return next((str(item.value) for item in config.extraConfig if item.key == key), None)


def checked_name(name: str | None) -> str:
    """Return a name that an entity may have. Raises InvalidName."""
    if not name or not _NAME.fullmatch(name) or name in {".", ".."}:
        raise vim.fault.InvalidName(name=name or "", msg=f"The name '{name}' is not valid.")
    return name


def _within(field: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise vmodl.fault.InvalidArgument(
            invalidProperty=field, msg=f"A specified parameter was not correct: {field} = {value}"
        )
    return value
