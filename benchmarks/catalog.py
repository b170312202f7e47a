"""Makes the catalogue's profiles anew.

    python -m benchmarks.catalog [DATA] [--measure]

Of others' measurements in DATA (splitwise-sim, llmservingsim, aiconfigurator) only what was fitted
is kept: coefficients, leave-out errors and the range. ``--measure`` also measures the embedded
model on this machine, points and all.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from benchmarks.roofline import (
    AICONFIGURATOR_HARDWARE,
    LLMSERVINGSIM_HARDWARE,
    SPLITWISE_HARDWARE,
    SPLITWISE_MODELS,
)
from executor.line_log import LineLog
from executor.measure.sample_log import SampleLog
from executor.opened_engines import open_engines
from planner.profiling.latency_profiling import keys_of, make_latency
from profiles.catalog import FOLDER
from profiles.importers.importing import Picks, import_profile
from profiles.latency.profile import EngineProfile, LatencyProfile, save_latency
from profiles.store import Provenance
from staircase.spec.scenario import load_scenario

MOST_ERROR = 0.05
# Between two of its RTX PRO 6000: bench/examples/RTXPRO6000/Qwen3-32B/config.json.
LINK_GB_PER_S, LINK_LATENCY_S = 16.0, 20e-6
DEMO = Path(__file__).parents[1] / "planner" / "demo.yaml"


@dataclass(frozen=True)
class Source:
    """Where figures of others are from, as the provenance says it."""

    source: str
    link: str
    licence: str
    what: str


SPLITWISE = Source(
    "Splitwise",
    "github.com/Mutinifni/splitwise-sim @ 8f99e7d, data/perf_model.csv",
    "MIT",
    "whole prefills and decode iterations, measured with an engine of 2023",
)
LLMSERVINGSIM = Source(
    "LLMServingSim",
    "github.com/casys-kaist/LLMServingSim @ 5daddb2, profiler/perf",
    "MIT",
    "sums of kernels measured in vLLM 0.19.0, without time of the host or between kernels",
)
AICONFIGURATOR = Source(
    "aiconfigurator",
    "PyPI aiconfigurator 0.12.0, run_static",
    "Apache-2.0 (data)",
    "modelled from measured operators, bf16, without time of the host",
)


def profile(
    engines: Mapping[str, EngineProfile], hardware: str, source: Source, made: Provenance
) -> LatencyProfile:
    settings = {"hardware": hardware, **vars(source)}
    provenance = replace(made, machine=hardware, settings=settings)
    bare = {name: engine.without_points() for name, engine in engines.items()}
    return LatencyProfile(bare, provenance)


def splitwise(data: Path) -> Iterator[tuple[str, LatencyProfile]]:
    path = data / "splitwise-sim" / "perf_model.csv"
    for name, hardware in SPLITWISE_HARDWARE.items():
        found = _imported("splitwise", path, Picks(hardware=name))
        engines = {_splitwise_name(key, name): engine for key, engine in found.engines.items()}
        yield (
            f"splitwise-{hardware.lower()}",
            profile(engines, hardware, SPLITWISE, found.provenance),
        )


def _splitwise_name(key: str, hardware: str) -> str:
    model, _, workers = key.partition(f"-{hardware}-")
    return f"{SPLITWISE_MODELS[model]}-{workers}"


def llmservingsim(data: Path) -> Iterator[tuple[str, LatencyProfile]]:
    perf = data / "llmservingsim" / "profiler" / "perf"
    for short, hardware in LLMSERVINGSIM_HARDWARE.items():
        found = {
            folder: _imported(
                "llmservingsim",
                folder,
                Picks(
                    model=folder.parents[1].name,
                    link_gb_per_s=LINK_GB_PER_S,
                    link_latency_s=LINK_LATENCY_S,
                ),
            )
            for folder in sorted((perf / short).glob("*/*/bf16/tp*"))
            if (folder / "moe.csv").exists() or not any(folder.parent.glob("*/moe.csv"))
        }
        engines = {
            f"{folder.parents[1].name}-{folder.name}": next(iter(one.engines.values()))
            for folder, one in found.items()
        }
        made = next(iter(found.values())).provenance
        yield f"llmservingsim-{hardware.lower()}", profile(engines, hardware, LLMSERVINGSIM, made)


def aiconfigurator(data: Path) -> Iterator[tuple[str, LatencyProfile]]:
    """Those models whose errors are small; a model of a model that is far off serves nobody."""
    path = data / "aiconfigurator" / "derived_prefill_decode_profile.csv"
    for system, hardware in AICONFIGURATOR_HARDWARE.items():
        found = _imported("aiconfigurator", path, Picks(hardware=system))
        engines = {
            key.replace(f"-{system}-", "-"): engine
            for key, engine in found.engines.items()
            if max(engine.prefill.error, engine.decode.error) <= MOST_ERROR
        }
        yield (
            f"aiconfigurator-{hardware.lower()}",
            profile(engines, hardware, AICONFIGURATOR, found.provenance),
        )


def _imported(form: str, path: Path, picks: Picks) -> LatencyProfile:
    found = import_profile(form, path, picks)
    assert isinstance(found, LatencyProfile)
    return found


def public(data: Path) -> Iterator[tuple[str, LatencyProfile]]:
    """Names and profiles of what is fitted to others' figures."""
    yield from splitwise(data)
    yield from llmservingsim(data)
    yield from aiconfigurator(data)


def measured() -> LatencyProfile:
    """The demo's model on this machine; its engines are alike."""
    scenario = load_scenario(DEMO)
    with open_engines(scenario) as opened, TemporaryDirectory() as folder:
        log = SampleLog(LineLog(Path(folder) / "samples.jsonl", keys_of(scenario).values()))
        found = make_latency(scenario, opened, log)
    said = {"hardware": found.provenance.machine, "what": "the demo's model of 0.8 M parameters"}
    settings = {**found.provenance.settings, **said}
    engine = next(iter(found.engines.values()))
    return LatencyProfile({"embedded": engine}, replace(found.provenance, settings=settings))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--measure", action="store_true")
    words = parser.parse_args()
    made = dict(public(words.data)) if words.data else {}
    if words.measure:
        made["measured-cpu"] = measured()
    for name, one in made.items():
        save_latency(FOLDER / f"{name}.json", one)
        Console().print(f"{name}: {', '.join(one.engines)}", highlight=False)


if __name__ == "__main__":
    main()
