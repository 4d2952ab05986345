"""Records that are never changed, and the evidence for it. Knows nothing of approvals."""
