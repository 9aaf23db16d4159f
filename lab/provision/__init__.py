"""From a topology to running machines and back to nothing."""
