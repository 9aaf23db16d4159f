"""Stand-ins that speak a real product's protocol, each over something real where the product has it."""
