"""Every figure of one schedule's run, and the run as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from planner.figures.metric_table import METRICS
from planner.figures.number_format import number
from staircase.metrics.request_metrics import Summary
from staircase.metrics.run_metrics import RunMetrics

# Capacity needs torch, which commands that only simulate should not wait for.
if TYPE_CHECKING:
    from simulator.capacity import Capacity
    from simulator.run import EngineUse

OF_THOUGHTS = ("first_output_s", "thinking_tokens")
# Of a table of all figures.
ROWS = (
    "ttft_s",
    "first_output_s",
    "smooth_start_s",
    "e2e_s",
    "input_s",
    "start_after_input_s",
    "last_after_input_s",
    "retracted_tokens",
    "kept",
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
    "tokens_per_pass",
    "samples",
    "vote_right",
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
    """Names of the rows that they fill; of thoughts and guesses only where there are any."""
    thinks = "thinking_tokens" in metrics and metrics["thinking_tokens"].mean > 0
    guesses = "tokens_per_pass" in metrics and metrics["tokens_per_pass"].mean > 1
    hidden = (*(() if thinks else OF_THOUGHTS), *(() if guesses else ("tokens_per_pass",)))
    return [name for name in ROWS if name in metrics and name not in hidden]


def _metric_cells(summary: Summary, factor: float) -> list[str]:
    numbers = (summary.mean, summary.low, summary.high, summary.p50, summary.p90, summary.p99)
    mean, low, high, *percentiles = (number(value * factor) for value in numbers)
    interval = "–" if math.isnan(summary.low) else f"{low} – {high}"
    return [mean, interval, *percentiles]


def run_lines(run: RunMetrics, limits: Sequence[str]) -> list[str]:
    """Throughput, and goodput if there are ``limits``, in words; and how many answers lack."""
    throughput = (
        f"{run.completed:g} of {run.requests:g} requests in {number(run.duration_s)} s: "
        f"{number(run.requests_per_s)} requests/s, "
        f"{number(run.answer_tokens_per_s)} answer tokens/s"
    )
    lines = [throughput]
    if limits:
        goodput = f"goodput within {', '.join(limits)} ms: {number(run.goodput_per_s)} requests/s"
        lines.append(f"{goodput}, {run.good_share * 100:.1f} % of the requests")
    if run.empty:
        lines.append(
            f"{run.empty:g} of {run.completed:g} answers have no token, and no part in the times"
        )
    return lines


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
