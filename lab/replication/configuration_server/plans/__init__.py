"""Recovery plans: many machines in order, with scripts and manual actions in between (seed L77, domain 2.3)."""
