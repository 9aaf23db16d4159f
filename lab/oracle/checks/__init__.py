"""The checks, each a pure function over what a copy holds and what the witness knows (domain facts 4.4 to 4.7)."""
