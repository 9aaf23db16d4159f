"""Replication groups: one instant for several machines, agreed on over port 20004 (seed L67)."""
