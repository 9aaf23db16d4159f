"""Services that stand in for something that this machine does not have; every certificate names them."""
