"""Replication groups: machines that share recovery points and fail over as one (seed L67, domain 2.4)."""
