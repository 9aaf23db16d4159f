"""What emulated products share: their certificate, their home, and what goes wrong in them on purpose."""
