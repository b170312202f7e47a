"""How often what was measured lies within the forecast's 90 % interval.

``python -m benchmarks.coverage VALIDATION…``: of each validation (``validation.json``) and of all
together, the share of (schedule, figure) pairs whose measured mean lies in the forecast's interval.
Figures are those that a reader feels, and what is forecast of quality.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from planner.results.validation import Validation, load_validation

FIGURES = ("ttft_s", "smooth_start_s", "e2e_s", "tpot_s", "loss", "agreement", "score")
# What rounding makes of texts that are the same, as in ``planner.results.comparison``.
NEGLIGIBLE = {"loss": 1e-4, "agreement": 1e-4}


def held(validation: Validation) -> Iterator[tuple[str, bool]]:
    """Of each schedule and figure: the figure, and whether its interval holds the measured mean."""
    for row in validation.rows:
        for name in FIGURES:
            if name in row.measured and name in row.candidate.forecast:
                forecast, mean = row.candidate.forecast[name], row.measured[name].mean
                least = NEGLIGIBLE.get(name, 0.0)
                yield name, forecast.low - least <= mean <= forecast.high + least


def main(paths: list[Path]) -> None:
    table = Table("validation", *FIGURES, "all")
    every: Counter[tuple[str, bool]] = Counter()
    for path in paths:
        found = Counter(held(load_validation(path)))
        table.add_row(str(path), *_shares(found))
        every += found
    table.add_row("all", *_shares(every))
    Console(width=140).print(table)


def _shares(found: Counter[tuple[str, bool]]) -> list[str]:
    pairs = [(found[name, True], found[name, False]) for name in FIGURES]
    return [
        _share(*pair) for pair in [*pairs, (sum(p[0] for p in pairs), sum(p[1] for p in pairs))]
    ]


def _share(yes: int, no: int) -> str:
    return f"{yes} of {yes + no}" if yes + no else "–"


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
