"""What the ledger says, read from the database."""
