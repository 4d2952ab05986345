"""Ways to reach people. A channel sends what it is given; it knows nothing of requests."""
