"""Every recorded run in a folder, in any of the layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.referee import own_runs, serving_sim
from benchmarks.referee.recorded import RecordedRun
from staircase.errors import RecordError

# A key that only the detailed results of ``vllm bench serve`` have.
VLLM_BENCH = '"ttfts"'


@dataclass(frozen=True)
class Found:
    """A run that was found; ``read`` raises InputError where it cannot be played."""

    path: Path
    read: Callable[[], RecordedRun]


def find_runs(data: Path) -> list[Found]:
    """By path: folders with ``run.yaml``, LLMServingSim's, and vLLM's files that no run.yaml
    describes."""
    return sorted([*_own(data), *_serving_sim(data), *_alone(data)], key=lambda one: one.path)


def _own(data: Path) -> Iterator[Found]:
    for path in data.rglob(own_runs.FILE):
        yield Found(path, partial(own_runs.read_own_run, path))


def _serving_sim(data: Path) -> Iterator[Found]:
    for path in data.rglob(f"vllm/{serving_sim.FILE}"):
        if not _is_described(path):
            yield Found(path, partial(serving_sim.read_serving_sim, data, path))


def _alone(data: Path) -> Iterator[Found]:
    for path in data.rglob("*.json"):
        is_asked = path.is_file() and not _is_described(path)
        if is_asked and VLLM_BENCH in path.read_text(errors="replace"):
            yield Found(path, partial(_refuse, path))


def _is_described(path: Path) -> bool:
    return (path.parent / own_runs.FILE).exists()


def _refuse(path: Path) -> RecordedRun:
    raise RecordError(
        f"{path}: no {own_runs.FILE} beside it, which would say the model, its hardware and the "
        "engine's arguments"
    )
