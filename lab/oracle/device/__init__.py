"""Whole devices: every block judged, those that no writer owns too (domain facts 4.5, oracle mode)."""
