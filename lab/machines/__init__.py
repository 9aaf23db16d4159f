"""How the lab logs in to machines: one kept SSH connection each, the console beside it."""
