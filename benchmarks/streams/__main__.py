"""Prints every row.

    python -m benchmarks.streams

*Follows*: what is published gives the published figure within 15 %, by the simulator or a roofline.
*Cross-checked*: one published figure fixes a parameter, and this one follows. *Restated*: within
15 %, but by the authors' own formula or figures. *Misses*: further off than that. *Holds*: a bound
in which the forecast lies. *Implied*: what the published figure needs, which the facts at hand do
not say; nothing is reproduced by that. *Alone*: no published figure could be verified.
docs/systems.md has the sources.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from benchmarks.streams import (
    batched,
    chains,
    engines,
    inputs,
    parallel,
    retrieval,
    spoken,
    thinking,
    typed,
    votes,
)
from benchmarks.streams.row import Row

MODULES = (
    chains,
    inputs,
    typed,
    spoken,
    thinking,
    parallel,
    batched,
    votes,
    engines,
    retrieval,
)


ORDER = ("follows", "cross-checked", "restated", "holds", "implied", "alone", "misses")


def rows() -> Iterator[Row]:
    for module in MODULES:
        for system in module.SYSTEMS:
            yield from system()


def best(found: list[Row]) -> dict[str, str]:
    """Of each system, the best that is said of any of its figures."""
    named = {row.system for row in found}
    hows = {name: {row.how for row in found if row.system == name} for name in sorted(named)}
    return {name: min(said, key=ORDER.index) for name, said in hows.items()}


def main() -> None:
    table = Table("system", "published", "forecast", "error", "how")
    found = list(rows())
    for row in found:
        table.add_row(*row.cells)
    console = Console(width=150)
    console.print(table)
    counted = Counter(row.how for row in found)
    console.print(", ".join(f"{number} {how}" for how, number in counted.most_common()))
    console.print(", ".join(f"{system}: {how}" for system, how in best(found).items()))


if __name__ == "__main__":
    main()
