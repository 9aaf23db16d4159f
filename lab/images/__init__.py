"""Recipes to cached disk images, and the identity that a machine gets at its first boot."""
