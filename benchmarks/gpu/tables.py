"""What was measured, as tables: medians, in milliseconds and seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.gpu.harness import Journal, Row
from benchmarks.gpu.moa import METRICS, medians

Key = tuple[str, str, str]


def _median_ms(seconds: Sequence[float]) -> float:
    return 1e3 * float(np.median(seconds)) if seconds else float("nan")


def table_of_machine(journal: Journal) -> Table:
    table = Table("machine", "")
    for name, value in journal.rows("machine")[0].items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    return table


def bound_ms(journal: Journal, batch: int, context: int) -> float:
    """The time to read the weights and all keys and values once."""
    [machine] = journal.rows("machine")
    read = machine["weight_bytes"] + batch * context * machine["kv_bytes_per_token"]
    return float(1e3 * read / machine["bytes_per_s"])


def table_of_decode(journal: Journal) -> Table:
    """Graphs: how many there were, so that 0 says that the static steps ran eagerly."""
    table = Table("decode: batch", "context", "eager, ms", "static, ms", "graphs", "bound, ms", "×")
    found: dict[tuple[int, int], dict[str, Row]] = {}
    for row in journal.rows("decode"):
        found.setdefault((row["batch"], row["context_tokens"]), {})[row["variant"]] = row
    for (batch, context), rows in sorted(found.items()):
        eager, static = (_median_ms(_gaps(rows, variant)) for variant in ("eager", "static"))
        bound = bound_ms(journal, batch, context)
        graphs = rows["static"]["graphs"] if "static" in rows else "–"
        cells = (f"{eager:.3f}", f"{static:.3f}", str(graphs), f"{bound:.3f}")
        table.add_row(str(batch), str(context), *cells, f"{static / bound:.2f}")
    return table


def _gaps(rows: dict[str, Row], variant: str) -> list[float]:
    return list(rows.get(variant, {}).get("gaps_s", []))


def table_of_prefill(journal: Journal) -> Table:
    [machine] = journal.rows("machine")
    table = Table("prefill: tokens", "ms", "tokens/s", "TFLOP/s")
    for row in journal.rows("prefill"):
        milliseconds = _median_ms(row["seconds"])
        rate = 1e3 * row["prompt_tokens"] / milliseconds
        flop = rate * machine["flop_per_token"] / 1e12
        table.add_row(
            str(row["prompt_tokens"]), f"{milliseconds:.2f}", f"{rate:,.0f}", f"{flop:.1f}"
        )
    return table


def table_of_equality(journal: Journal) -> Table:
    table = Table("greedy texts", "calls", "equal tokens", "equal until token")
    for row in journal.rows("equality"):
        share = f"{row['equal_tokens']} of {row['tokens']}"
        table.add_row(
            row["pair"], str(row["calls"]), share, ", ".join(map(str, row["equal_until"]))
        )
    return table


def table_of_requests(journal: Journal, deployment: str) -> Table:
    names = ("TTFT, s", "TPOT, ms", "E2E, s", "stall, s", "TTFT less by")
    table = Table(f"{deployment}: schedule", "layout", "n", *names)
    found = medians(journal.rows(deployment))
    normal = next((row["ttft_s"] for key, row in found.items() if key[1] == "normal"), float("nan"))
    for key, row in sorted(found.items(), key=_by_schedule):
        ttft, tpot, e2e, stall = (row[name] for name in METRICS)
        cells = (f"{ttft:.3f}", f"{1e3 * tpot:.2f}", f"{e2e:.2f}", f"{stall:.2f}")
        less = f"{100 * (1 - ttft / normal):.1f} %"
        table.add_row(*key[1:], f"{row['requests']:.0f}", *cells, less)
    return table


def _by_schedule(item: tuple[Key, Any]) -> tuple[str, bool, str, str]:
    deployment, staircase, layout = item[0]
    return deployment, staircase != "normal", layout, staircase


def table_of_profile(journal: Journal) -> Table:
    table = Table("profile", "coefficients", "error of the fit")
    for row in journal.rows("profile"):
        for what in ("prefill", "decode"):
            numbers = ", ".join(f"{number:.3g}" for number in row[f"{what}_coefficients"])
            table.add_row(what, numbers, f"{100 * row[f'{what}_error']:.1f} %")
    return table


def table_of_forecast(journal: Journal) -> Table:
    """Forecast / measured."""
    names = ("TTFT, s", "TPOT, ms", "E2E, s", "stall, s")
    table = Table("forecast / measured", "schedule", "layout", *names)
    measured = medians([*journal.rows("apart"), *journal.rows("together")])
    keys = ("deployment", "staircase", "layout")
    rows = {tuple(row[key] for key in keys): row for row in journal.rows("forecast")}
    for key, row in rows.items():
        there = measured.get(key, {})
        table.add_row(*key, *(_pair(row, there, name) for name in METRICS))
    return table


def _pair(forecast: Row, measured: dict[str, float], name: str) -> str:
    factor = 1e3 if name == "tpot_s" else 1
    some = (row.get(name, float("nan")) * factor for row in (forecast, measured))
    return " / ".join(f"{value:.3f}" for value in some)


TABLES: dict[str, Callable[[Journal], Table]] = {
    "machine": table_of_machine,
    "decode": table_of_decode,
    "prefill": table_of_prefill,
    "apart": lambda journal: table_of_requests(journal, "apart"),
    "equality": table_of_equality,
    "profile": table_of_profile,
    "together": lambda journal: table_of_requests(journal, "together"),
    "forecast": table_of_forecast,
}
