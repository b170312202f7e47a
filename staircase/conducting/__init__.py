"""What a conductor keeps of its agents, and what it asks of it."""
