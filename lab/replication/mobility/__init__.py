"""The mobility service: runs in a protected machine, captures its writes and sends them. Standard library only."""
