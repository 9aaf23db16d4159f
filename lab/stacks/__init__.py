"""Stacks under test, behind one interface."""
