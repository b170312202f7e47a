"""Quality profiles: what reading less costs."""
