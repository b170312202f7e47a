"""Which way a figure is better."""

# More is better; of all other figures, less.
GAINS = frozenset(
    {"goodput_per_s", "capacity_per_s", "agreement", "score", "vote_right", "tokens_per_pass"}
)
