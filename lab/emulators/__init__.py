"""Stand-ins for what this machine does not have, each with the real product's protocol; a certificate names them."""
