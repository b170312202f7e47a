"""Latency profiles of four sizes of models on one GPU, within ten minutes.

    python -m benchmarks.gpu_profile [--shapes 1b 8b 14b 32b] [--device cuda|cpu] [--out FOLDER]
                                     [--seconds 560]

Bare config.json files of the shapes, random weights in bf16: times are those of real models of this
size. Each is measured by ``executor.measure.measure_latency``, the code behind ``staircase
profile``: an engine with 8 slots, prompts up to 4,096 tokens, until the cross-validated error is at
most 3 % or the shape's share of the time is used. FOLDER gets a profile for each,
DEVICE-SHAPE.json, as soon as it is there, and what was measured of one that is not finished
(``partial.jsonl``), from where the same command goes on. A shape that fails is told and left out;
gpu_profile.json says what the device is, and how long each shape took.
"""

from __future__ import annotations

import argparse
import gc
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.gpu.alone import machine
from benchmarks.gpu.harness import Harness, Journal, Row, Stopwatch
from benchmarks.gpu.profiling import measure
from benchmarks.gpu.shape import SHAPES, ModelShape
from executor.line_log import LineLog
from executor.measure.measure_latency import MeasuringEffort
from executor.measure.measurements import Sample
from executor.measure.sample_log import SampleLog
from profiles.latency.profile import EngineProfile, LatencyProfile, save_latency
from profiles.store import content_hash, provenance_of_now

LLAMA_VOCABULARY, QWEN_VOCABULARY = 128256, 151936


def _llama(
    hidden: int, layers: int, heads: int, size: int, inner: int, words: int, is_tied: bool = False
) -> ModelShape:
    """As the 8B shape, with 8 KV heads; of Qwen3 without its norms of queries and keys."""
    config = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": size,
        "intermediate_size": inner,
        "vocab_size": words,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": is_tied,
    }
    return replace(SHAPES["8b"], config=config)


# Sizes: config.json of Llama-3.2-1B, Llama-3.1-8B, Qwen3-14B and Qwen3-32B.
PROFILED: Mapping[str, ModelShape] = {
    "1b": _llama(2048, 16, 32, 64, 8192, LLAMA_VOCABULARY, is_tied=True),
    "8b": SHAPES["8b"],
    "14b": _llama(5120, 40, 40, 128, 17408, QWEN_VOCABULARY),
    "32b": _llama(5120, 64, 64, 128, 25600, QWEN_VOCABULARY),
    "tiny": SHAPES["tiny"],
}
ON_A_GPU = ("1b", "8b", "14b", "32b")
FILE, PARTIAL = "gpu_profile.json", "partial.jsonl"


@dataclass(frozen=True)
class Done:
    """A shape's row of the machine, and its profile."""

    machine: Row
    profile: EngineProfile
    path: Path


def profile_shape(name: str, harness: Harness, seconds: float, console: Console) -> Done:
    """Measures and saves one shape within ``seconds``, loading it included."""
    clock = Stopwatch()
    [about] = machine(harness)
    key = content_hash([name, about["device"], about["torch"], dict(harness.shape.config)])
    log = SampleLog(LineLog(harness.folder / PARTIAL, [key]))
    columns = (TextColumn("{task.description}: {task.completed:.0f} visits"), TimeElapsedColumn())
    # Drawn only between measurements, which a thread that draws would disturb.
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        task = progress.add_task(name, total=None)

        def keep(sample: Sample) -> None:
            log.append(key, sample)
            progress.update(task, advance=1, refresh=True)

        effort = MeasuringEffort(seconds - clock.now_s)
        found = measure(harness, effort, log.samples(key), keep)
    path = harness.folder / f"{_file_name(str(about['device']))}-{name}.json"
    settings = {"benchmark": "gpu_profile", "shape": name, **harness.shape.config, **about}
    save_latency(path, LatencyProfile({name: found}, provenance_of_now(settings)))
    return Done(about, found, path)


def _file_name(device: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def table_of(done: Mapping[str, Done]) -> Table:
    names = (
        "prefill ±",
        "decode ±",
        "1,024 new, ms",
        "1 × 1,024, ms",
        "batch × 1,024, ms",
        "bound",
    )
    table = Table("shape", *names, "fixed per call, ms")
    for name, one in done.items():
        batch = max(point.batch for point in one.profile.decode_points)
        milliseconds = (
            one.profile.prefill_s(1024, 0),
            one.profile.decode_s(1, 1024),
            one.profile.decode_s(batch, batch * 1024),
            (one.machine["weight_bytes"] + 1024 * one.machine["kv_bytes_per_token"])
            / one.machine["bytes_per_s"],
            one.profile.call_s,
        )
        errors = (one.profile.prefill.error, one.profile.decode.error)
        table.add_row(
            name, *(f"{e:.1%}" for e in errors), *(f"{1e3 * s:.2f}" for s in milliseconds)
        )
    return table


def run(shapes: Sequence[str], device: str, folder: Path, seconds: float, console: Console) -> int:
    """How many shapes failed."""
    clock, done, failed = Stopwatch(), dict[str, Done](), 0
    journal = Journal(folder / FILE, "sizes")
    for number, name in enumerate(shapes):
        left_s = (seconds - clock.now_s) / (len(shapes) - number)
        began_s = clock.now_s
        try:
            # Nobody else holds the harness: the next model needs the memory.
            done[name] = profile_shape(
                name, Harness(PROFILED[name], device, folder, journal), left_s, console
            )
        except Exception as error:
            # The GPU is lent for minutes: whatever fails, the other shapes are worth having.
            console.print(f"[yellow]{name}: left out[/]: {type(error).__name__}: {error}")
            failed += 1
        else:
            took_s = clock.now_s - began_s
            journal.put(name, [{**done[name].machine, "took_s": took_s}])
            console.print(f"{done[name].path}: {took_s:.0f} s")
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    console.print(table_of(done))
    if not failed:
        (folder / PARTIAL).unlink(missing_ok=True)
    return failed


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", choices=PROFILED, default=list(ON_A_GPU))
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu_profile"))
    parser.add_argument("--seconds", type=float, default=560.0)
    return parser.parse_args()


def main() -> None:
    chosen = options()
    failed = run(chosen.shapes, chosen.device, chosen.out, chosen.seconds, Console())
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
