"""Drivers for the hosts that machines run on."""
