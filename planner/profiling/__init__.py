"""Makes a scenario's profiles, and shows them."""
