"""Side effects as rows of the transaction that caused them: at least once, in order per key."""
