"""The evidence of a run as one signed bundle, and how anyone checks it without the lab that made it."""
