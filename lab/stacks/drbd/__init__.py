"""DRBD 8.4 of Debian's kernel under test: one data disk of a machine, mirrored to a standby (decision 0023).

It is written as another package's adapter would be: it takes from the lab only what docs/vendor-guide.md names.
"""
