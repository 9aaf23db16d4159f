"""The commands of ``lab``, one file for each family; ``register`` adds them to the application."""
