"""What is said of a request that was played: its metrics, and the faults of its text."""
