"""Staircases on one GPU: an 8B model that proposes and aggregates, measured within ten minutes.

    python -m benchmarks.gpu_moa [--shape 8b|tiny] [--device cuda|cpu] [--out FOLDER]
                                 [--seconds 540] [--requests 3] [--parts PART …]

A bare config.json of the shape, random weights, forced lengths: times are those of a real model of
this size, texts are nonsense. The parts, in this order, each with its table:

    machine    the GPU, versions, the speed of its memory, the bytes of the weights
    decode     ms a token by batch and context, eagerly and in static steps (CUDA graphs on a
               GPU), beside the bound: the time to read the weights and the KV cache once
    prefill    ms, tokens/s and TFLOP/s by length of the prompt
    apart      TTFT, TPOT, E2E, stall of a Mixture-of-Agents, normal and with staircases, which
               take turns; one engine for three proposers and one for the aggregator
    equality   how far graphs and eager decoding write the same greedy text
    profile    a latency profile, saved as latency.json
    together   as ``apart``, with one engine that batches all four agents
    forecast   the simulator's forecast of the same, beside the measurement

FOLDER/gpu_moa.json has everything, each token's time too, and is written after each measurement, so
that an interrupt loses nothing. A part stops when its share of --seconds is over, and a part that
fails is told and left out. ``--parts forecast`` on a folder that was brought home adds the forecast
there, without a GPU.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from benchmarks.gpu.harness import Harness, Journal, Row, Stopwatch
from benchmarks.gpu.shape import SHAPES
from benchmarks.gpu.tables import TABLES

FILE = "gpu_moa.json"


@dataclass(frozen=True)
class RunPart:
    """A generator of rows.

    Attributes:
        module: imported only when the part begins, because some need packages that others do not.
        until: the share of the run's seconds after which it stops.
    """

    name: str
    module: str
    until: float

    def rows(self, harness: Harness) -> Iterator[Row]:
        module = importlib.import_module(f"benchmarks.gpu.{self.module}")
        begin: Callable[[Harness], Iterator[Row]] = getattr(module, self.name)
        return begin(harness)


PARTS = (
    RunPart("machine", "alone", 0.2),
    RunPart("decode", "alone", 0.35),
    RunPart("prefill", "alone", 0.4),
    RunPart("apart", "moa", 0.7),
    RunPart("equality", "alone", 0.75),
    RunPart("profile", "profiling", 0.8),
    RunPart("together", "moa", 0.95),
    RunPart("forecast", "forecasts", 1.0),
)


def run(
    harness: Harness, console: Console, parts: Sequence[RunPart], seconds: float, clock: Stopwatch
) -> None:
    for part in parts:
        reason = measure_visibly(
            harness, console, part, partial(clock.is_past, part.until * seconds)
        )
        harness.journal.skip(part.name, reason)
        show(harness, console, part.name, reason)
        if not harness.journal.rows("machine"):
            raise SystemExit("without a machine and a model there is nothing to measure")


def measure_visibly(
    harness: Harness, console: Console, part: RunPart, is_up: Callable[[], bool]
) -> str:
    columns = (TextColumn("{task.description}: {task.completed:.0f} rows"), TimeElapsedColumn())
    # Drawn only between measurements, which a thread that draws would disturb.
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        task = progress.add_task(part.name, total=None)
        on_row = partial(progress.update, task, advance=1, refresh=True)
        return measure_part(harness, part, on_row, is_up)


def measure_part(
    harness: Harness, part: RunPart, on_row: Callable[[], None], is_up: Callable[[], bool]
) -> str:
    """Keeps every row; says why there are no more, or nothing if there are all."""
    if is_up():
        return "no time was left"
    rows: list[Row] = []
    try:
        for row in part.rows(harness):
            rows.append(row)
            harness.journal.put(part.name, rows)
            on_row()
            if is_up():
                return f"time was up after {len(rows)} rows"
    except Exception as error:
        # The GPU is lent for minutes: whatever fails, the other parts are worth having.
        return f"{type(error).__name__}: {error}"
    return ""


def show(harness: Harness, console: Console, part: str, reason: str) -> None:
    if harness.journal.rows(part):
        console.print(TABLES[part](harness.journal))
    if reason:
        console.print(f"[yellow]{part}: left out or cut short[/]: {reason}")


def options() -> argparse.Namespace:
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="8b")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu_moa"))
    parser.add_argument("--seconds", type=float, default=540.0)
    parser.add_argument("--requests", type=int, default=3, help="of each schedule")
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    return parser.parse_args()


def main() -> None:
    clock, chosen, console = Stopwatch(), options(), Console()
    journal = Journal(chosen.out / FILE, chosen.shape)
    harness = Harness(SHAPES[chosen.shape], chosen.device, chosen.out, journal, chosen.requests)
    needed = {*chosen.parts, *([] if journal.rows("machine") else ["machine"])}
    parts = [part for part in PARTS if part.name in needed]
    run(harness, console, parts, chosen.seconds, clock)
    console.print(f"{clock.now_s:.0f} s; everything is in {chosen.out / FILE}")


if __name__ == "__main__":
    main()
