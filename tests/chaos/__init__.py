"""One run in which everything breaks, and what must hold afterwards (`make chaos`)."""
