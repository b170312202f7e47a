"""The rows of arXiv 2510.05059 (Arena-Hard) beside their forecast: ``python -m benchmarks.paper``.

Constants of ``examples/paper_moa.yaml`` are fitted to the rows marked so; the others are judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from simulator.forecast import forecast_simulated
from staircase import Staircase, constant, normal, uniform
from staircase.schedule import Layout
from staircase.spec.scenario import Scenario, load_scenario

SCENARIO = Path(__file__).parents[1] / "examples" / "paper_moa.yaml"
# Not published; fitted to the tokens per second of the staircase row.
CHUNK, WRITE = 128, 60


@dataclass(frozen=True)
class PublishedRun:
    """One published run; ``fitted`` names the figures that a constant was fitted to."""

    name: str
    staircase: Staircase
    ttft_s: float
    tokens_per_s: float | None
    layout: Layout = "rebuild"
    prefix_caching: bool = False
    fitted: tuple[str, ...] = ()


ROWS = (
    PublishedRun("MoA", normal(), 10.6, 28.3, fitted=("TTFT",)),
    PublishedRun("staircase, first 4", constant(4, CHUNK, WRITE), 0.42, None),
    PublishedRun(
        "staircase, first 8", constant(8, CHUNK, WRITE), 0.47, 43.4, fitted=("TTFT", "TPS")
    ),
    PublishedRun("staircase, first 32", constant(32, CHUNK, WRITE), 0.70, None, fitted=("TTFT",)),
    PublishedRun(
        "staircase + prefix cache", constant(8, CHUNK, WRITE), 0.45, 45.0, "append_rounds", True
    ),
)


def forecast(scenario: Scenario, row: PublishedRun) -> tuple[float, float]:
    """TTFT in seconds, and answer tokens over time to the last of them."""
    last = scenario.simulated["aggregator"].model_copy(
        update={"prefix_caching": row.prefix_caching}
    )
    changed = scenario.model_copy(update={"engines": {**scenario.engines, "aggregator": last}})
    schedule = uniform(scenario.pipeline.build(), row.staircase, row.layout)
    metrics = forecast_simulated(changed, schedule).metrics
    return metrics["ttft_s"].mean, metrics["answer_tokens"].mean / metrics["e2e_s"].mean


def main() -> None:
    scenario = load_scenario(SCENARIO)
    table = Table("row", "figure", "paper", "forecast", "off", "")
    for row in ROWS:
        ttft_s, tokens_per_s = forecast(scenario, row)
        for name, paper, value in (
            ("TTFT", row.ttft_s, ttft_s),
            ("TPS", row.tokens_per_s, tokens_per_s),
        ):
            if paper is not None:
                kind = "fitted" if name in row.fitted else "judged"
                off = f"{value / paper - 1:+.1%}"
                table.add_row(row.name, name, f"{paper:g}", f"{value:.3g}", off, kind)
    Console().print(table)


if __name__ == "__main__":
    main()
