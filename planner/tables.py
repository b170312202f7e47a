"""The table of forecast beside measurement, for the terminal and the report."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.table import Table

from planner.measured_limits import verdict_of
from planner.metric_table import METRICS
from staircase.metrics import Summary
from staircase.run_metrics import RunMetrics

# Some of these need torch, which commands that only simulate should not wait for.
if TYPE_CHECKING:
    from planner.plans import Candidate
    from planner.validation import Validation
    from profiles.latency import EngineProfile, LatencyProfile
    from simulator.capacity import Capacity
    from simulator.run import EngineUse

# Of a table of schedules.
COLUMNS = (
    "ttft_s",
    "smooth_start_s",
    "e2e_s",
    "stall_s",
    "prefilled_tokens",
    "cached_tokens",
    "loss",
    "agreement",
    "score",
    "unread",
    "device_s",
)
# The figures that stand side by side wherever a schedule is judged.
JUDGED = ("ttft_s", "smooth_start_s", "e2e_s")
# Of a table of what the answers are like as texts.
TEXT_COLUMNS = (
    "answer_tokens",
    "leaks",
    "seams",
    "repetition",
    "strange",
    "log_likelihood",
    "beyond_normal",
)
STAND_INS = ("unread", "device_s")
WITH_INTERVAL = ("smooth_start_s", "agreement", "score", "beyond_normal")


@dataclass(frozen=True)
class TableRow:
    """``kind`` is forecast or measured, or empty where a table has only one of them."""

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
    verdicts = {
        row.name: verdict_of(one for one in validation.limits if one.name == row.name)
        for row in validation.rows
    }
    rows = (
        replace(row, cells=(*row.cells, verdicts[row.name] if row.kind == "measured" else ""))
        for row in cells.rows
    )
    return Cells((*cells.columns, "limits"), tuple(rows)) if validation.limits else cells


def text_cells(validation: Validation) -> Cells:
    """What the answers of every schedule are like as texts, as measured."""
    rows = [(row.name, "", row.measured) for row in validation.rows]
    return _cells(rows, text_columns(validation))


def text_columns(validation: Validation) -> list[str]:
    """Those that some schedule fills."""
    known = {name for row in validation.rows for name in row.measured}
    return [name for name in TEXT_COLUMNS if name in known]


def forecast_cells(candidates: Mapping[str, Candidate]) -> Cells:
    return _cells_of((name, "forecast", one.forecast) for name, one in candidates.items())


def _cells_of(entries: Iterable[tuple[str, str, Mapping[str, Summary]]]) -> Cells:
    """With the columns that some entry fills."""
    rows = list(entries)
    return _cells(rows, shown_columns({name for _, _, metrics in rows for name in metrics}))


def _cells(rows: Iterable[tuple[str, str, Mapping[str, Summary]]], columns: Sequence[str]) -> Cells:
    return Cells(
        tuple(METRICS[name].column_head for name in columns),
        tuple(
            TableRow(name, kind, tuple(_cell(metrics, column) for column in columns))
            for name, kind, metrics in rows
        ),
    )


def shown_columns(known: Collection[str]) -> list[str]:
    """Of the figures that are ``known``; stand-ins for quality where that is not."""
    hidden = STAND_INS if "loss" in known else ()
    return [name for name in COLUMNS if name in known and name not in hidden]


def _cell(metrics: Mapping[str, Summary], column: str) -> str:
    if column not in metrics:
        return "–"
    summary, factor = metrics[column], METRICS[column].factor
    if column not in WITH_INTERVAL or math.isnan(summary.low):
        return number(summary.mean * factor)
    return with_interval(summary.mean * factor, summary.low * factor, summary.high * factor)


def with_interval(mean: float, low: float, high: float) -> str:
    """One half of the interval where both look alike, or else its ends."""
    below, above = number(mean - low), number(high - mean)
    return f"{number(mean)} " + (
        f"±{below}" if below == above else f"({number(low)}–{number(high)})"
    )


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


OF_THOUGHTS = ("first_output_s", "thinking_tokens")
# Of a table of all figures.
ROWS = (
    "ttft_s",
    "first_output_s",
    "smooth_start_s",
    "e2e_s",
    "tpot_s",
    "itl_s",
    "stall_s",
    "longest_gap_s",
    "queued_s",
    "busy_s",
    "answer_tokens",
    "thinking_tokens",
    "prefilled_tokens",
    "cached_tokens",
    "unread",
    "loss",
    "agreement",
    "score",
    "leaks",
    "seams",
    "repetition",
    "strange",
)


def metrics_table(metrics: Mapping[str, Summary], title: str) -> Table:
    """Every metric with its mean, the mean's 90 % interval, and percentiles over requests."""
    table = Table(title=title, title_justify="left")
    for column in ("", "mean", "90 % interval", "P50", "P90", "P99"):
        table.add_column(column, justify="right" if column else "left")
    for metric in (METRICS[name] for name in figures_of(metrics)):
        table.add_row(metric.row_head, *_metric_cells(metrics[metric.name], metric.factor))
    return table


def figures_of(metrics: Mapping[str, Summary]) -> list[str]:
    """Names of the rows that they fill; of thoughts only where there are any."""
    thinks = "thinking_tokens" in metrics and metrics["thinking_tokens"].mean > 0
    hidden = () if thinks else OF_THOUGHTS
    return [name for name in ROWS if name in metrics and name not in hidden]


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
    """A column says of each row of what kind it is, where rows have kinds."""
    table = Table(title=title, title_justify="left", padding=(0, 0, 0, 1))
    table.add_column("schedule", no_wrap=True)
    has_kinds = any(row.kind for row in cells.rows)
    if has_kinds:
        table.add_column("", no_wrap=True)
    for column in cells.columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in cells.rows:
        head = (row.name, row.kind) if has_kinds else (row.name,)
        table.add_row(*head, *row.cells, end_section=row.kind == "measured")
    return table
