"""Where a machine is replicated to: a secondary site, or Azure. One Protocol, and an implementation for each."""
