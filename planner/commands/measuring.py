"""Measuring profiles: what engines cost, and what reading less costs in quality."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from statistics import mean
from typing import TYPE_CHECKING, Annotated

import typer

from planner.terminal import (
    AsJson,
    OutFolder,
    ScenarioPath,
    kept_on_interrupt,
    notes,
    open_workspace,
    print_json,
    progress_bars,
    screen,
)

if TYPE_CHECKING:
    from executor.bench import Bench
    from planner.workspace import Workspace


class Kind(StrEnum):
    """What there are profiles of."""

    LATENCY = "latency"
    QUALITY = "quality"


def profile(
    scenario: ScenarioPath,
    only: Annotated[Kind | None, typer.Option(help="Measure this alone.")] = None,
    out: OutFolder = None,
    budget: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds for latency [default: as the scenario says]."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what the scenario's engines cost and what reading less costs in quality.

    An interrupted measurement goes on where it was when the same is asked for again.
    """
    work = open_workspace(scenario, out).with_budget(budget)
    paths = measure_profiles(work, only)
    if as_json:
        print_json(paths)
    else:
        show_profiles(work, only)


def measure_profiles(work: Workspace, only: Kind | None = None) -> dict[str, str]:
    """Paths of what was measured: all that can be, or the one that is asked for."""
    from executor.bench import open_bench

    paths = {}
    with open_bench(work.scenario) as bench:
        if only is not Kind.QUALITY:
            paths["latency"] = _profile_latency(work, bench)
        if only is Kind.QUALITY or (
            only is None and bench.can_score(work.scenario.pipeline.build())
        ):
            paths["quality"] = _profile_quality(work, bench)
    return paths


def _profile_latency(work: Workspace, bench: Bench) -> str:
    from executor.sample_log import SampleLog
    from planner.profiling import keys_of, make_latency
    from profiles.latency import save_latency

    log = SampleLog(work.samples_path, keys_of(work.scenario).values())
    _say(log.notes)
    with kept_on_interrupt(work.samples_path), progress_bars(between_steps=True) as track:
        save_latency(work.latency_path, make_latency(work.scenario, bench, log, track))
    log.remove()
    # It corrects a profile that is no more.
    work.tuned_path.unlink(missing_ok=True)
    return str(work.latency_path)


def _profile_quality(work: Workspace, bench: Bench) -> str:
    from executor.quality_log import QualityLog
    from planner.quality_profiling import make_quality, quality_key
    from profiles.quality import save_quality

    log = QualityLog(work.quality_samples_path, quality_key(work.scenario))
    _say(log.notes)
    with kept_on_interrupt(work.quality_samples_path), progress_bars() as track:
        found = make_quality(work.scenario, work.source, bench, log, track)
        save_quality(work.quality_path, found)
    log.remove()
    return str(work.quality_path)


def _say(words: Iterable[str]) -> None:
    for line in words:
        notes.print(line, soft_wrap=True, highlight=False)


def show_profiles(work: Workspace, only: Kind | None = None) -> None:
    if only is not Kind.QUALITY:
        _show_latency(work)
    if only is Kind.LATENCY:
        return
    if work.quality_path.is_file():
        _show_quality(work)
    else:
        screen.print(
            "quality: not measured, as the servers do not tell probabilities of prompts; name a "
            "file that was made with in-process engines under profile: quality"
        )


def _show_latency(work: Workspace) -> None:
    from planner.tables import latency_lines

    for words in latency_lines(work.latency()):
        screen.print(words, highlight=False)
    screen.print(f"written: {work.latency_path}")


def _show_quality(work: Workspace) -> None:
    from planner.quality_profiling import loss_error
    from profiles.played import loss_calibration

    quality = work.quality()
    screen.print(
        f"quality: {len(quality.samples)} requests, read levels {list(quality.read_levels)}; "
        f"loss within {loss_error(quality.samples):.1%}"
    )
    for layout in ("flat", "interleave"):
        found = loss_calibration(quality.played, layout)
        screen.print(
            f"loss of {layout} layouts under schedules that were played: {found.factor:.2f} of the "
            f"uncalibrated forecast, single ones within {found.spread:.0%}"
        )
    scored = [(mean(one.agreement), mean(one.score)) for one in quality.played if one.score]
    if scored:
        (least, worst), (most, best) = min(scored), max(scored)
        screen.print(
            f"task score: {best:.3f} at agreement {most:.3f} to {worst:.3f} at {least:.3f}, "
            f"fitted over {len(scored)} schedules"
        )
    screen.print(f"written: {work.quality_path}")
