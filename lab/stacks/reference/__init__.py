"""The adapter of the reference stack (``lab/replication``)."""
