"""How far a draft holds, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from planner.figures.number_format import number, with_interval
from profiles.quality.held import TIE_NATS, HeldText, held_by_share
from staircase.metrics.request_metrics import Summary


def held_table(texts: Sequence[HeldText]) -> Table:
    """A row a share that was read; means over requests, with 90 % intervals."""
    rows = held_by_share(texts)
    title = "How far a draft holds: tokens written after reading part of it, beside full reading"
    table = Table(title=title, caption=_caption(texts))
    table.title_justify = table.caption_justify = "left"
    cuts = [f"{start + 1}–{stop}" for start, stop in rows[0].by_position]
    heads = ("read", "written", "kept prefix", "P50", "agreement")
    for head in (*heads, *(f"at {cut}" for cut in cuts)):
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(
            f"{row.share:.0%}",
            number(row.written.mean),
            _interval(row.kept),
            number(row.kept.p50),
            _interval(row.agreement),
            *(number(one.mean) for one in row.by_position.values()),
        )
    return table


def _interval(figure: Summary) -> str:
    return with_interval(figure.mean, figure.low, figure.high)


def _caption(texts: Sequence[HeldText]) -> str:
    requests, ties = len({text.request for text in texts}), sum(len(text.ties) for text in texts)
    words = f"{requests} requests; 100 %: the fully read text itself"
    if ties:
        words += f"; near ties, within {TIE_NATS:g} nats, that count as kept: {ties}"
    return words
