"""The table of forecast beside measurement, for the terminal and the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.table import Table

from staircase.metrics import Summary
from staircase.run_metrics import RunMetrics

# Some of these need torch, which commands that only simulate should not wait for.
if TYPE_CHECKING:
    from planner.plans import Candidate
    from planner.validation import Validation
    from profiles.latency import EngineProfile, LatencyProfile
    from simulator.capacity import Capacity
    from simulator.run import EngineUse

COLUMNS: dict[str, tuple[str, float]] = {
    "ttft_s": ("first token ms", 1000),
    "smooth_start_s": ("smooth start ms", 1000),
    "e2e_s": ("last token ms", 1000),
    "stall_s": ("stall ms", 1000),
    "prefilled_tokens": ("prefill", 1),
    "cached_tokens": ("cached", 1),
    "loss": ("loss", 1),
    "agreement": ("quality", 1),
    "score": ("score", 1),
    "unread": ("unread", 1),
    "device_s": ("device ms", 1000),
}
# The figures that stand side by side wherever a schedule is judged.
JUDGED = {"ttft_s": "first token", "smooth_start_s": "smooth start", "e2e_s": "last token"}
STAND_INS = ("unread", "device_s")
WITH_INTERVAL = ("smooth_start_s", "agreement", "score")


@dataclass(frozen=True)
class TableRow:
    """``kind`` is forecast or measured."""

    name: str
    kind: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Cells:
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def validation_cells(validation: Validation) -> Cells:
    """With a column that says whether the plan's limits were kept as measured."""
    cells = _cells_of(
        (row.name, kind, metrics)
        for row in validation.rows
        for kind, metrics in (("forecast", row.candidate.forecast), ("measured", row.measured))
    )
    broken = {one.name for one in validation.limits if one.is_kept is False}
    words = {False: "kept", True: "broken"}
    rows = (
        replace(
            row, cells=(*row.cells, words[row.name in broken] if row.kind == "measured" else "")
        )
        for row in cells.rows
    )
    return Cells((*cells.columns, "limits"), tuple(rows)) if validation.limits else cells


def forecast_cells(candidates: Mapping[str, Candidate]) -> Cells:
    return _cells_of((name, "forecast", one.forecast) for name, one in candidates.items())


def _cells_of(entries: Iterable[tuple[str, str, Mapping[str, Summary]]]) -> Cells:
    """With the columns that some entry fills; stand-ins for quality where it is not known."""
    rows = list(entries)
    known = {name for _, _, metrics in rows for name in metrics}
    hidden = STAND_INS if "loss" in known else ()
    columns = [name for name in COLUMNS if name in known and name not in hidden]
    return Cells(
        tuple(COLUMNS[name][0] for name in columns),
        tuple(
            TableRow(name, kind, tuple(_cell(metrics, column) for column in columns))
            for name, kind, metrics in rows
        ),
    )


def _cell(metrics: Mapping[str, Summary], column: str) -> str:
    if column not in metrics:
        return "–"
    summary, factor = metrics[column], COLUMNS[column][1]
    mean = number(summary.mean * factor)
    if column not in WITH_INTERVAL:
        return mean
    if math.isnan(summary.low):
        return mean
    return f"{mean} ±{number((summary.high - summary.low) / 2 * factor)}"


def number(value: float) -> str:
    """Three digits or so; an undefined figure is a dash."""
    if math.isnan(value):
        return "–"
    decimals = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{decimals}f}"


def latency_lines(profile: LatencyProfile) -> list[str]:
    """What was measured and how far it is to be trusted; once for engines that were one."""
    lines = []
    for engine in {one.prefill: one for one in profile.engines.values()}.values():
        names = ", ".join(name for name, one in profile.engines.items() if one == engine)
        lines += [f"{names}: {words}" for words in _engine_lines(engine)]
    return lines


def _engine_lines(engine: EngineProfile) -> list[str]:
    lines = [
        f"{what} within {fit.error:.1%}, with drift {fit.stated_error:.1%}"
        for what, fit in (("prefill", engine.prefill), ("decode", engine.decode))
    ]
    lines.append(f"fixed per call {number(1e3 * engine.call_s)} ms")
    if engine.contention != 1:
        lines.append(f"in turn with another engine {engine.contention:.3f} times as long")
    if engine.mixed_decode is not None:
        lines.append(f"decoding beside a prefill costs {engine.mixed_decode:.2f} of decoding alone")
    lines.append(f"prefix cache: {engine.cache or 'none found'}")
    return [*lines, *(f"no time to measure {words}" for words in engine.unmeasured)]


METRIC_ROWS: dict[str, tuple[str, float]] = {
    "ttft_s": ("TTFT ms", 1000),
    "smooth_start_s": ("smooth start ms", 1000),
    "e2e_s": ("E2E ms", 1000),
    "tpot_s": ("TPOT ms", 1000),
    "itl_s": ("ITL ms", 1000),
    "stall_s": ("stall ms", 1000),
    "longest_gap_s": ("longest gap ms", 1000),
    "queued_s": ("queued ms", 1000),
    "busy_s": ("device ms", 1000),
    "answer_tokens": ("answer tokens", 1),
    "prefilled_tokens": ("prefilled tokens", 1),
    "cached_tokens": ("cached tokens", 1),
    "unread": ("unread share", 1),
    "loss": ("loss, nats a token", 1),
    "agreement": ("quality", 1),
    "score": ("task score", 1),
}


def metrics_table(metrics: Mapping[str, Summary], title: str) -> Table:
    """Every metric with its mean, the mean's 90 % interval, and percentiles over requests."""
    table = Table(title=title, title_justify="left")
    for column in ("", "mean", "90 % interval", "P50", "P90", "P99"):
        table.add_column(column, justify="right" if column else "left")
    for name, (words, factor) in METRIC_ROWS.items():
        if name in metrics:
            table.add_row(words, *_metric_cells(metrics[name], factor))
    return table


def _metric_cells(summary: Summary, factor: float) -> list[str]:
    numbers = (summary.mean, summary.low, summary.high, summary.p50, summary.p90, summary.p99)
    mean, low, high, *percentiles = (number(value * factor) for value in numbers)
    interval = "–" if math.isnan(summary.low) else f"{low} – {high}"
    return [mean, interval, *percentiles]


def run_lines(run: RunMetrics, limits: Sequence[str]) -> list[str]:
    """Throughput, and goodput if there are ``limits``, in words."""
    throughput = (
        f"{run.completed:g} of {run.requests:g} requests in {number(run.duration_s)} s: "
        f"{number(run.requests_per_s)} requests/s, "
        f"{number(run.answer_tokens_per_s)} answer tokens/s"
    )
    if not limits:
        return [throughput]
    goodput = f"goodput within {', '.join(limits)} ms: {number(run.goodput_per_s)} requests/s"
    return [throughput, f"{goodput}, {run.good_share * 100:.1f} % of the requests"]


def use_lines(use: Mapping[str, EngineUse], metrics: Mapping[str, Summary]) -> list[str]:
    """How busy the engines were, and how much of the prompts they found cached, in words."""
    lines = [
        f"{name}: {one.utilisation:.1%} busy, {number(one.busy_s)} device seconds"
        + (f" on {one.replicas} replicas" if one.replicas > 1 else "")
        for name, one in use.items()
    ]
    cached, new = metrics["cached_tokens"].mean, metrics["prefilled_tokens"].mean
    share = cached / (cached + new) if cached + new else 0.0
    return [*lines, f"cached: {share:.1%} of the prompt tokens"]


def capacity_table(found: Capacity, share: float) -> Table:
    """Every rate that was tried, and how many requests kept the limits at it."""
    title = f"Requests that keep the limits; wanted: {share:.1%}"
    table = Table(title=title, title_justify="left")
    for column in ("rate 1/s", "kept", "goodput 1/s", "answer tokens/s"):
        table.add_column(column, justify="right")
    for trial in found.trials:
        kept = f"{trial.run.good_share:.1%}"
        rates = (trial.rate_per_s, trial.run.goodput_per_s, trial.run.answer_tokens_per_s)
        rate, goodput, tokens = map(number, rates)
        table.add_row(rate, kept, goodput, tokens)
    return table


def as_rich(cells: Cells, title: str) -> Table:
    table = Table(title=title, title_justify="left", padding=(0, 0, 0, 1))
    for column in ("schedule", "", *cells.columns):
        table.add_column(
            column, justify="left" if column in ("schedule", "") else "right", no_wrap=True
        )
    for row in cells.rows:
        table.add_row(row.name, row.kind, *row.cells, end_section=row.kind == "measured")
    return table
