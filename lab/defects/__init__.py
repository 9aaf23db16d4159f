"""Seeded defects: small named patches of the reference stack, which knows nothing of them, and what notices them."""
