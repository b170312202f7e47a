"""The search for schedules."""
