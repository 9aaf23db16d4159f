"""Proof of what a replica holds: a writer of numbered records, a witness outside, a pure checker. Stands alone."""
