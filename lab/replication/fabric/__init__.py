"""The fabric of one site: makes, moves and removes replica disks and machines for the configuration server."""
