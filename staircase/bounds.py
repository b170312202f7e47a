"""The largest numbers that may be asked for.

The simulator counts picoseconds in 64 bits, which end after 9.2e6 s. A run may take
``LONGEST_RUN_S``, and so may one call, whose iterations are summed at once: together they stay
below that end. The other bounds are far above what anybody runs, and low enough for tables and
lists of that size to fit into memory.
"""

from __future__ import annotations

LONGEST_RUN_S = 1e6
LAST_PS = 10**18  # The same in picoseconds.
LONGEST_ITERATION_S = 1e4
# Of whatever is counted: requests, trials, calls at a time.
MOST = 10**6
# Of one text; the longest contexts of published models.
MOST_TOKENS = 10**7
# What NumPy and Optuna take.
MOST_SEED = 2**32 - 1
# Of rates, a second or a minute.
LEAST_RATE, MOST_RATE = 1e-6, 1e9
# Of a geometric staircase: below the first it would take thousands of steps to grow.
LEAST_RATIO, MOST_RATIO = 1.01, 1000.0

# Of one simulated engine.
MOST_REPLICAS = 1000
MOST_SEQUENCES = 2**16
MOST_BATCHED_TOKENS = 2**18
# Of all replicas together.
MOST_BLOCKS = 10**7
