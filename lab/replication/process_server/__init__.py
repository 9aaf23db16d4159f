"""The process server: caches, compresses, encrypts and forwards; installs the mobility service."""
