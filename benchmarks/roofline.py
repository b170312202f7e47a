"""Rooflines against tables of others, to which nothing is fitted.

    python -m benchmarks.roofline DATA [--by-model] [--by-tp] [--host NAME]

DATA holds ``aiconfigurator/derived_prefill_decode_profile.csv`` (modelled from measured operators,
16 bits, without an engine's host time; rows that do not fit into memory are left out),
``llmservingsim/profiler/perf`` (sums of measured kernels, without what passes between them) and
``splitwise-sim/perf_model.csv`` (measured with an engine of 2023). To the latter rows what an
engine does on its host is added: by default what Vidur measured of the one nearest to it
(``profiles/hardware/hosts.py``).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from profiles.hardware.gpus import HARDWARE
from profiles.hardware.hosts import HOSTS, Host
from profiles.hardware.known_models import SHAPES, known_shape
from profiles.hardware.roofline import PrefillChunk, Roofline
from profiles.importers.deployment import Deployment
from profiles.importers.kernels import ATTENTION_KEYS, read_kernel_tables
from staircase.errors import ProfileError
from staircase.files import read_csv

AICONFIGURATOR_HARDWARE = {
    "h200_sxm": "H200",
    "h100_sxm": "H100-SXM",
    "a100_sxm": "A100-80GB-SXM",
    "l40s": "L40S",
}
LLMSERVINGSIM_HARDWARE = {"RTX4090": "RTX-4090", "RTXPRO6000": "RTX-PRO-6000-Server"}
# H100 with a power cap is none of the devices.
SPLITWISE_HARDWARE = {"a100-80gb": "A100-80GB-SXM", "h100-80gb": "H100-SXM"}
SPLITWISE_MODELS = {"llama2-70b": "Llama-2-70B", "bloom-176b": "BLOOM-176B"}
TARGETS = {"decode": 0.20, "prefill": 0.35}


@dataclass(frozen=True)
class Judged:
    """A row of a table and what the roofline says to it."""

    source: str
    hardware: str
    model: str
    phase: str
    tp: str
    forecast_s: float
    seconds: float

    @property
    def log_ratio(self) -> float:
        return float(np.log(self.forecast_s / self.seconds))


def aiconfigurator(path: Path) -> Iterator[Judged]:
    sizes = ("batch_size", "new_tokens_per_seq", "context_tokens_per_seq")
    columns = ("system", "model", "tp", "phase", "latency_ms", "oom")
    for _, row in read_csv(path, (*columns, *sizes), ProfileError, "a table of aiconfigurator"):
        if row["oom"] == "1":
            continue
        device = AICONFIGURATOR_HARDWARE[row["system"]]
        model = row["model"].rpartition("/")[2].removeprefix("Meta-")
        roofline = Roofline(SHAPES[model], HARDWARE[device], int(row["tp"]))
        batch, new, context = (int(row[size]) for size in sizes)
        if row["phase"] == "prefill":
            forecast_s = roofline.iteration_s([PrefillChunk(new, context)] * batch, 0, 0)
        else:
            forecast_s = roofline.iteration_s([], batch, batch * context)
        seconds = float(row["latency_ms"]) / 1e3
        phase, tp = row["phase"], f"tp{row['tp']}"
        yield Judged("aiconfigurator", device, model, phase, tp, forecast_s, seconds)


def splitwise(path: Path, host: Host) -> Iterator[Judged]:
    """``token_time`` is the mean over the output, so at half of it the context is the mean."""
    sizes = ("tensor_parallel", "batch_size", "prompt_size", "token_size")
    columns = ("model", "hardware", "prompt_time", "token_time")
    for _, row in read_csv(path, (*columns, *sizes), ProfileError, "a table of splitwise-sim"):
        if row["hardware"] not in SPLITWISE_HARDWARE:
            continue
        device, model = SPLITWISE_HARDWARE[row["hardware"]], SPLITWISE_MODELS[row["model"]]
        devices, batch, prompt, output = (int(row[size]) for size in sizes)
        roofline = Roofline(SHAPES[model], HARDWARE[device], devices)
        context = batch * (prompt + output // 2)
        for phase, forecast_s in (
            ("prefill", roofline.iteration_s([PrefillChunk(prompt, 0)] * batch, 0, 0)),
            ("decode", roofline.iteration_s([], batch, context)),
        ):
            name = "prompt_time" if phase == "prefill" else "token_time"
            whole_s = forecast_s + host.seconds(batch)
            seconds = float(row[name]) / 1e3
            yield Judged("splitwise-sim", device, model, phase, f"tp{devices}", whole_s, seconds)


def llmservingsim(folder: Path) -> Iterator[Judged]:
    """Chunks alone and decoding alone; only bundles of one device, which hold all their kernels."""
    for path in sorted(folder.glob("*/*/*/bf16/tp1")):
        model, device = path.parents[1].name, LLMSERVINGSIM_HARDWARE[path.parents[3].name]
        shape = known_shape(model)
        assert shape is not None, model
        roofline = Roofline(shape, HARDWARE[device])
        tables = read_kernel_tables(path, Deployment.of(shape))
        columns = (*ATTENTION_KEYS, "time_us")
        for _, row in read_csv(path / "attention.csv", columns, ProfileError, "a kernel table"):
            new, before, decoding, context = (int(row[key]) for key in ATTENTION_KEYS)
            if new and decoding:
                continue
            chunks = [PrefillChunk(new, before)] if new else []
            tokens_s = np.interp(new + decoding, tables.tokens, tables.tokens_s)
            head_s = np.interp(len(chunks) + decoding, tables.sequences, tables.sequences_s)
            attention_s = float(row["time_us"]) * 1e-6 * roofline.shape.layers
            yield Judged(
                "llmservingsim",
                device,
                model,
                "prefill" if new else "decode",
                "tp1",
                roofline.iteration_s(chunks, decoding, decoding * context),
                float(tokens_s + head_s) + attention_s,
            )


def report(judged: list[Judged], keys: Sequence[str]) -> Table:
    """A line for each group of rows that have ``keys``, attributes of ``Judged``, in common."""
    groups: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in judged:
        groups[tuple(getattr(row, key) for key in keys)].append(row.log_ratio)
    table = Table(*keys, "rows", "median error", "median bias", "90 % within", "target")
    for group, ratios in groups.items():
        errors = np.abs(np.expm1(ratios))
        target = TARGETS[group[-1]]
        figures = (np.median(errors), np.expm1(np.median(ratios)), np.quantile(errors, 0.9))
        words = (f"{figures[0]:.1%}", f"{figures[1]:+.1%}", f"{figures[2]:.0%}")
        verdict = f"{target:.0%} {'met' if figures[0] <= target else 'missed'}"
        table.add_row(*group, f"{len(ratios):,}", *words, verdict)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--by-model", action="store_true")
    parser.add_argument("--by-tp", action="store_true", help="Also by tensor parallelism.")
    parser.add_argument("--host", choices=HOSTS, default="Sarathi-2024")
    words = parser.parse_args()
    judged = [
        *aiconfigurator(words.data / "aiconfigurator" / "derived_prefill_decode_profile.csv"),
        *llmservingsim(words.data / "llmservingsim" / "profiler" / "perf"),
        *splitwise(words.data / "splitwise-sim" / "perf_model.csv", HOSTS[words.host]),
    ]
    model = ("model",) if words.by_model else ()
    console = Console(width=110)
    console.print(report(judged, ("hardware", "phase")))
    console.print(report(judged, ("source", "hardware", *model, "phase")))
    if words.by_tp:
        console.print(report(judged, ("source", "tp", "phase")))
    spreads = {
        phase: np.median([abs(row.log_ratio) for row in judged if row.phase == phase]) / 0.6745
        for phase in TARGETS
    }
    said = ", ".join(f"{phase} {spread:.2f}" for phase, spread in spreads.items())
    print(f"Spread, as the normal with the median of |log(forecast / table)|: {said}")


if __name__ == "__main__":
    main()
