"""What it costs that agents look at each other, by how often they do.

    python -m benchmarks.peers [SCENARIO]

The two workers of ``examples/peers.yaml`` write a piece of so many tokens, look at what the other
has by then, and write on. Whoever reads both reads them whole, so the last token comes later by
what their looks cost: prompts that are read again, as far as no prefix cache has them, and a call
each.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.table import Table

from simulator.forecast import SimulatedForecaster
from staircase import Schedule, constant, normal
from staircase.schedule import Layout
from staircase.spec.scenario import load_scenario

EXAMPLE = Path(__file__).parents[1] / "examples" / "peers.yaml"
PIECES = (256, 64, 16, 4, 1)
LAYOUTS: tuple[Layout, ...] = ("append_rounds", "interleave")


def tried() -> Iterator[tuple[int, Layout]]:
    """Pieces and layouts; 0 for one piece that is all."""
    yield 0, LAYOUTS[0]
    yield from product(PIECES, LAYOUTS)


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else EXAMPLE
    forecaster = SimulatedForecaster.open(load_scenario(path), path.parent)
    looking = [agent.name for agent in forecaster.pipeline if agent.peers]
    made = Table("piece", "layout", "last token s", "beyond no looks", "prefilled", "cached")
    alone_s = 0.0
    for piece, layout in tried():
        steps = constant(piece, piece, piece) if piece else normal()
        found = forecaster(Schedule(dict.fromkeys(looking, steps), layout)).metrics
        last_s = found["e2e_s"].mean
        alone_s = alone_s or last_s
        tokens = (f"{found[name].mean:,.0f}" for name in ("prefilled_tokens", "cached_tokens"))
        share = f"{last_s / alone_s - 1:+.1%}" if piece else ""
        made.add_row(str(piece or "all"), layout, f"{last_s:.2f}", share, *tokens)
    Console(width=100).print(made)


if __name__ == "__main__":
    main()
