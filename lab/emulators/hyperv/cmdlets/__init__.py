"""The cmdlets that are emulated, a file for each family."""
