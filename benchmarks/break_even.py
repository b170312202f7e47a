"""When guesses and checks pay: by the roofline of a server's GPU, and by passes timed here.

    python -m benchmarks.break_even [--model MODEL] [--svg FILE]

Of n tokens, each right with probability a if all before it are, K(n, a) = a·(1 - a^n) / (1 - a) are
right from the first one on. A pass of w tokens of a text takes r(w) of one of a single token. A
guess of w - 1 tokens gives K(w - 1, a) tokens more, and pays where that is above r(w) - 1.

A check of L tokens saves as many decodes as it keeps tokens, K(L, a). It makes the pass that reads
the drafts longer by x(L) decodes, and pays where K(L, a) > x(L).

On a GPU a batch of sequences decodes. All of them guess at once, and one of them is checked.
MODEL is a folder or file of a model here, as ``model`` of an engine; it is timed alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from scipy.optimize import brentq

from profiles.hardware.gpus import hardware
from profiles.hardware.known_models import SHAPES
from profiles.hardware.roofline import Roofline
from profiles.hardware.transforms import expected_tokens

WIDTHS, LENGTHS = (2, 5, 9, 13, 17), (16, 32, 64, 128, 256)
ACCEPTANCES = (0.8, 0.9, 0.95, 0.97, 0.99)
BATCHES = (1, 32)
CONTEXT_TOKENS = 1024
# Tokens of drafts that the pass reads in which a text is checked.
READ_TOKENS = 128
# Of passes that are timed here; the longest take seconds on a CPU.
ROUNDS = 5
# Each on as many H100s as hold it.
MODELS = {"Llama-3.1-8B": 1, "Llama-3.1-70B": 4}


@dataclass(frozen=True)
class Place:
    """A model on a device.

    Attributes:
        wide: r(w).
        checking: x(L).
    """

    name: str
    wide: Callable[[int], float]
    checking: Callable[[int], float]


@dataclass(frozen=True)
class Server:
    """A ``batch`` of sequences, each with ``CONTEXT_TOKENS`` before it."""

    roofline: Roofline
    batch: int

    def pass_s(self, wide: int, width: int, logits: int) -> float:
        """``width`` tokens of each of ``wide`` sequences and one of each other; so many ``logits``
        of each of ``wide``."""
        plain, form = self.batch - wide, self.roofline
        return (
            form.tokens_s(plain + wide * width)
            + form.sequences_s(plain + wide * logits)
            + wide * form.chunk_attention_s(width, CONTEXT_TOKENS)
            + form.decode_attention_s(plain, plain * CONTEXT_TOKENS)
        )

    @property
    def decode_s(self) -> float:
        return self.pass_s(0, 0, 0)

    def wide(self, width: int) -> float:
        return self.pass_s(self.batch, width, width) / self.decode_s

    def checking(self, length: int) -> float:
        longer_s = self.pass_s(1, READ_TOKENS + length, 1 + length) - self.pass_s(1, READ_TOKENS, 1)
        return longer_s / self.decode_s


def servers() -> Iterator[Place]:
    for model, devices in MODELS.items():
        form = Roofline(SHAPES[model], hardware("H100-SXM"), devices)
        for batch in BATCHES:
            server = Server(form, batch)
            name = f"{model}, {devices} x H100, batch {batch}"
            yield Place(name, server.wide, server.checking)


def timed(model: str) -> Place:
    """On this machine."""
    from benchmarks.guesses import pass_costs_s
    from executor.inprocess.opening import load_models
    from executor.inprocess.threads import computing_with
    from staircase.spec.engine_spec import EngineSpec

    (loaded,) = load_models({"model": EngineSpec(model=model)}).values()
    reading = [READ_TOKENS, *(READ_TOKENS + length for length in LENGTHS)]
    with computing_with(loaded.threads):
        costs_s = pass_costs_s(loaded, (1, *WIDTHS, *reading), ROUNDS)
    return Place(
        f"{Path(model).name}, here",
        lambda width: costs_s[width] / costs_s[1],
        lambda length: (costs_s[READ_TOKENS + length] - costs_s[READ_TOKENS]) / costs_s[1],
    )


def kept(tokens: int, acceptance: float) -> float:
    """K: of so many tokens, how many stand from the first one on, on average."""
    return expected_tokens(acceptance, tokens) - 1


def least_acceptance(tokens: int, needed: float) -> float | None:
    """At which so many tokens keep as many as are ``needed``; None if even all are too few."""
    if needed >= tokens:
        return None
    return float(brentq(lambda a: kept(tokens, a) - max(needed, 0.0), 0.0, 1.0))


@dataclass(frozen=True)
class Row:
    """What it takes for ``tokens`` to pay, be they guessed or checked, at one place."""

    place: str
    tokens: int
    needed: float

    @property
    def acceptance(self) -> float | None:
        return least_acceptance(self.tokens, self.needed)

    @property
    def words(self) -> str:
        found = "never" if self.acceptance is None else f"{self.acceptance:.2f}"
        return f"{self.needed:.2f} ({found})"


def of_guesses(places: Sequence[Place]) -> list[Row]:
    return [Row(one.name, w - 1, one.wide(w) - 1) for one in places for w in WIDTHS]


def of_checks(places: Sequence[Place]) -> list[Row]:
    return [Row(one.name, length, one.checking(length)) for one in places for length in LENGTHS]


def table(rows: Sequence[Row], title: str) -> Table:
    """A row a place, a column for each number of tokens."""
    found = Table(title=title, title_justify="left")
    found.add_column("model and device")
    for tokens in dict.fromkeys(row.tokens for row in rows):
        found.add_column(f"{tokens}", justify="right")
    for place in dict.fromkeys(row.place for row in rows):
        found.add_row(place, *(row.words for row in rows if row.place == place))
    return found


def kept_table() -> Table:
    found = Table(title="Tokens that a check keeps, by what was written", title_justify="left")
    found.add_column("acceptance")
    for length in LENGTHS:
        found.add_column(f"{length}", justify="right")
    for acceptance in ACCEPTANCES:
        cells = (f"{kept(length, acceptance):.1f}" for length in LENGTHS)
        found.add_row(f"{acceptance}", *cells)
    return found


def write_plot(path: Path, guesses: Sequence[Row], checks: Sequence[Row]) -> None:
    """Least acceptance by tokens, of guesses and beside it of checks."""
    import altair as alt
    import vl_convert

    from planner.charts.style import Style

    style = Style(is_page=False)
    # 0: names are never cut.
    legend = alt.Legend(title=None, orient="bottom", columns=1, labelLimit=0)
    panels = [
        alt.Chart(alt.InlineData(values=_values(rows)), title=title)
        .mark_line(point=True)
        .encode(
            x=alt.X("tokens:Q", title="tokens", scale=alt.Scale(type="log", base=2)),
            y=alt.Y("acceptance:Q", title="least acceptance", scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("place:N", legend=legend),
        )
        .properties(width=320, height=240)
        for rows, title in ((guesses, "a guess pays"), (checks, "a check pays"))
    ]
    chart = style.configured(alt.hconcat(*panels))
    path.write_text(vl_convert.vegalite_to_svg(chart.to_dict()), encoding="utf-8")


def _values(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Without those that never pay."""
    return [
        {"place": row.place, "tokens": row.tokens, "acceptance": row.acceptance}
        for row in rows
        if row.acceptance is not None
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--svg", type=Path)
    arguments = parser.parse_args()
    places = [*([timed(arguments.model)] if arguments.model else []), *servers()]
    guesses, checks = of_guesses(places), of_checks(places)
    console = Console(width=100)
    console.print(
        table(
            guesses, "Tokens of a guess that must be right for it to pay (acceptance), by tokens"
        ),
        table(checks, "Tokens that a check must keep for it to pay (acceptance), by tokens"),
        kept_table(),
    )
    if arguments.svg:
        write_plot(arguments.svg, guesses, checks)


if __name__ == "__main__":
    main()
