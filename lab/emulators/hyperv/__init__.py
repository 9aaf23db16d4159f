"""An emulated Hyper-V host: WS-Management, a strict subset of PowerShell, Hyper-V and VMM cmdlets (decision 0013)."""
