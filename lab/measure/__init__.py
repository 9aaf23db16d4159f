"""Measuring from outside: ports, peers, digests of disks, speeds of a path."""
