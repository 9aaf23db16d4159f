"""The reference stack: one folder for each component, on one data format."""
