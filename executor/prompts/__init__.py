"""How prompts of each engine are written, and what of them its agents read."""
