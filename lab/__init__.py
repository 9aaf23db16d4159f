"""Disaster-recovery replication lab."""
