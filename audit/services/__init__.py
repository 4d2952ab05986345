"""What the ledger does: seal, sign, export, verify, erase."""
