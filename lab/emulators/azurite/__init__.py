"""Azurite, the vendor's own emulator of Azure Storage, as a service of a lab (decision 0011)."""
