"""Which systems the reference stack protects, for each target: data files, facts of a machine, one comparison."""
