"""Texts that are revised: what stands of them, and how inputs replace what they said."""
