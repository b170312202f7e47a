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

from benchmarks.streams import chains, engines, inputs, parallel, retrieval, votes
from benchmarks.streams.row import Row

MODULES = (chains, inputs, parallel, votes, engines, retrieval)


def rows() -> Iterator[Row]:
    for module in MODULES:
        for system in module.SYSTEMS:
            yield from system()


def main() -> None:
    table = Table("system", "published", "forecast", "error", "how")
    found = list(rows())
    for row in found:
        table.add_row(*row.cells)
    console = Console(width=150)
    console.print(table)
    counted = Counter(row.how for row in found)
    console.print(", ".join(f"{number} {how}" for how, number in counted.most_common()))


if __name__ == "__main__":
    main()
