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
# Of prices and of limits of figures, whose unit is the user's.
MOST_FIGURE = 1e9
# Of one text; the longest contexts of published models.
MOST_TOKENS = 10**7
# What NumPy and Optuna take.
MOST_SEED = 2**32 - 1
# Of rates, a second or a minute.
LEAST_RATE, MOST_RATE = 1e-6, 1e9
# Of a reader: the longest text, read so slowly, still ends within 64 bits of picoseconds.
LEAST_READING_RATE = 1.1
MOST_TOKENS_PER_MIN = 10**12
LEAST_SPEED, MOST_SPEED = 1e-6, 1e6
LEAST_BURSTINESS, MOST_BURSTINESS = 0.01, 100.0
# Of lognormals: the standard deviation of the logarithm, of times and of lengths.
MOST_SPREAD, MOST_SIGMA = 5.0, 10.0
MOST_TEMPERATURE = 2.0
# Of a geometric staircase: below the first it would take thousands of steps to grow.
LEAST_RATIO, MOST_RATIO = 1.01, 1000.0
# Of a debate.
MOST_ROUNDS = 100
# That one vote reads.
MOST_SAMPLES = 64
# Of a pipeline with branches.
MOST_AGENTS = 256
# Of replicates that one figure is a quantile of.
LEAST_SEEDS, MOST_SEEDS = 2, 1000
LEAST_QUANTILE = 0.5
LEAST_CAPACITY_SHARE = 0.01
# Bytes of a name that a file system takes, less what is put behind it.
LONGEST_NAME = 200

# Of one simulated engine.
MOST_REPLICAS = 1000
MOST_SEQUENCES = 2**16
MOST_BATCHED_TOKENS = 2**18
# Of all replicas together.
MOST_BLOCKS = 10**7
MOST_LAYERS = 10**4
# Of a tensor-parallel engine.
MOST_DEVICES = 1024
# Of a transform: iterations that a pass costs, tokens that it makes or computes.
MOST_COST, MOST_WIDTH = 1000.0, 1000

# Of a quantized model; 16 are those of any other.
MOST_BITS = 16.0

# Of one real engine.
MOST_THREADS = 4096
MOST_SLOTS = 4096
MOST_TRIES = 1000
# Of a guess, and of what it is looked up by.
MOST_GUESSED, MOST_NGRAM = 256, 32

# What only the command line takes.
MOST_WORKERS = 1024
LEAST_BUDGET_S = 0.1
LEAST_KEEP_ALIVE_S = 0.01
MOST_PORT = 2**16 - 1
LEAST_TOLERANCE, MOST_TOLERANCE = 1e-3, 1e6
