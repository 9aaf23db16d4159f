"""Replication from the host: machines are captured, sent to Azure or another host, received from one."""
