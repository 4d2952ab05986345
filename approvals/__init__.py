"""Access requests, approval chains, grants and everything that people see of them."""
