"""From the ledger of a run to a certificate."""
