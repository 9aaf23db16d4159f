"""What every component of the reference stack shares. No module here knows a component."""
