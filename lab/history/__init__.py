"""Every run in one database, and what changed between runs."""
