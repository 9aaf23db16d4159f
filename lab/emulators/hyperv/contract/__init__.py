"""What the real cmdlets take and give, as data; where it comes from stands in hyperv.json under ``attribution``."""
