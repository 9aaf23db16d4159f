"""The optional console ("vContinuum" in the seed, L141): a command line at the configuration server's location."""
