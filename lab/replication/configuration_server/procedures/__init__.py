"""How each operation is done, step by step."""
