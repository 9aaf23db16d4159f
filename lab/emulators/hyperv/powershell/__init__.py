"""A strict subset of Windows PowerShell 5.1: what it does not know is an error with line and column, never a guess."""
