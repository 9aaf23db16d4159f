"""Topology files: typed, strict, passive."""
