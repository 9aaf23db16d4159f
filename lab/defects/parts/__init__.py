"""The defects, a file for each part of the stack."""
