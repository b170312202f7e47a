"""Measuring profiles: what engines cost, and what reading less costs in quality."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from statistics import mean
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.given import refuse
from planner.cli.terminal import (
    AsJson,
    OutFolder,
    ScenarioPath,
    finite,
    kept_work,
    open_workspace,
    print_json,
    progress_bars,
    say,
    screen,
)
from staircase.bounds import LEAST_BUDGET_S, LONGEST_RUN_S
from staircase.errors import ScenarioError

if TYPE_CHECKING:
    from executor.opened_engines import OpenedEngines
    from planner.workspace import Workspace


class Kind(StrEnum):
    """What there are profiles of."""

    LATENCY = "latency"
    QUALITY = "quality"
    LENGTHS = "lengths"


def profile(
    ctx: typer.Context,
    scenario: ScenarioPath,
    only: Annotated[Kind | None, typer.Option(help="Measure this alone.")] = None,
    out: OutFolder = None,
    budget: Annotated[
        float | None,
        typer.Option(
            min=LEAST_BUDGET_S,
            max=LONGEST_RUN_S,
            callback=finite,
            help="Seconds for latency [default: as the scenario says].",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what the scenario's engines cost and what reading less costs in quality.

    Where quality cannot be measured, it measures how long drafts and answers are. An interrupted
    measurement goes on where it was when the same is asked for again.
    """
    if only is Kind.QUALITY:
        refuse(ctx, "budget", why="it is for latency, and --only quality is asked for")
    work = open_workspace(scenario, out).with_budget(budget)
    paths = measure_profiles(work, only)
    if as_json:
        print_json(paths)
    else:
        show_profiles(work, paths)


def measure_profiles(work: Workspace, only: Kind | None = None) -> dict[str, str]:
    """Paths of what was measured, by kind: all that can be, or the one that is asked for.

    A file that the scenario names and that is there is somebody's: it is never written.

    Raises:
        ScenarioError: the one that is asked for cannot be measured, or its file is there.
    """
    from planner.cli.commands.opened_engines import opened_bench
    from planner.sole_use import sole_use
    from staircase.files import check_writable

    given = work.given_profiles()
    if only in given:
        raise ScenarioError(
            f"profile.{only}: {given[only]} is there and is not overwritten; name a file that is "
            "not there yet, or leave the key out"
        )
    say(f"{path}: named under profile.{kind}, used as it is" for kind, path in given.items())
    if only is None and {Kind.LATENCY, Kind.QUALITY} <= given.keys():
        return {}
    for path in {work.latency_path, work.quality_path, work.lengths_path} - {*given.values()}:
        check_writable(path)
    with (
        sole_use(work.folder, "profile"),
        opened_bench(work.scenario, is_measured=True) as opened,
    ):
        why = opened.why_no_scores(work.scenario.pipeline.build())
        kinds = [only] if only else _wanted(work, why)
        return {kind: _MAKERS[kind](work, opened) for kind in kinds if kind not in given}


def _wanted(work: Workspace, why_no_quality: str | None) -> list[Kind]:
    """A workload that is given says how long texts are."""
    if why_no_quality is None:
        return [Kind.LATENCY, Kind.QUALITY]
    say([f"quality cannot be measured: {why_no_quality}"])
    return [Kind.LATENCY] if work.scenario.workload else [Kind.LATENCY, Kind.LENGTHS]


def _profile_latency(work: Workspace, opened: OpenedEngines) -> str:
    from executor.measure.sample_log import SampleLog
    from planner.profiling.latency_profiling import keys_of, make_latency
    from profiles.latency.profile import save_latency

    with (
        kept_work(work.samples_path, keys_of(work.scenario).values(), "samples") as kept,
        progress_bars(between_steps=True) as track,
    ):
        log = SampleLog(kept)
        save_latency(work.latency_path, make_latency(work.scenario, opened, log, track))
    # It corrects a profile that is gone now.
    work.tuned_path.unlink(missing_ok=True)
    return str(work.latency_path)


def _profile_quality(work: Workspace, opened: OpenedEngines) -> str:
    from executor.measure.quality_log import QualityLog
    from planner.profiling.quality_profiling import make_quality, quality_key
    from profiles.quality.profile import save_quality

    key = quality_key(work.scenario)
    with (
        kept_work(work.quality_samples_path, QualityLog.keys(key), "samples") as kept,
        progress_bars() as track,
    ):
        log = QualityLog.of(kept, key)
        found = make_quality(work.scenario, work.source, opened, log, track)
        save_quality(work.quality_path, found)
    return str(work.quality_path)


def _profile_lengths(work: Workspace, opened: OpenedEngines) -> str:
    from executor.line_log import ItemLog
    from planner.profiling.length_profiling import lengths_key, make_lengths
    from profiles.lengths import LengthSample, save_lengths

    why = opened.why_no_scores(work.scenario.pipeline.build()) or "it was not asked for"
    key = lengths_key(work.scenario)
    with (
        kept_work(work.length_samples_path, [key], "samples") as lines,
        progress_bars() as track,
    ):
        kept = ItemLog(lines, key, LengthSample)
        found = make_lengths(work.scenario, work.source, opened, why, kept, track)
        save_lengths(work.lengths_path, found)
    return str(work.lengths_path)


_MAKERS = {
    Kind.LATENCY: _profile_latency,
    Kind.QUALITY: _profile_quality,
    Kind.LENGTHS: _profile_lengths,
}


def show_profiles(work: Workspace, measured: Mapping[str, str]) -> None:
    """What was ``measured``, by kind."""
    shown = {
        Kind.LATENCY: _show_latency,
        Kind.QUALITY: _show_quality,
        Kind.LENGTHS: _show_lengths,
    }
    for kind, path in measured.items():
        shown[Kind(kind)](work)
        screen.print(f"written: {path}", soft_wrap=True)


def _show_latency(work: Workspace) -> None:
    from planner.profiling.profile_warnings import latency_notes
    from planner.profiling.profile_words import latency_lines

    found = work.latency()
    for words in [*latency_lines(found), *latency_notes(found.engines)]:
        screen.print(words)


def _show_quality(work: Workspace) -> None:
    from planner.profiling.quality_profiling import loss_error, why_not_held
    from planner.tables.held_table import held_table
    from profiles.quality.calibration import loss_calibration

    quality = work.quality()
    screen.print(
        f"quality: {len(quality.samples)} requests, read levels {list(quality.read_levels)}; "
        f"loss within {loss_error(quality.samples):.1%}"
    )
    kinds = ["interleave" if one == "interleave" else "flat" for one in quality.layouts]
    for layout in dict.fromkeys(kinds):
        found = loss_calibration(quality.played, layout)
        screen.print(
            f"loss of {layout} layouts under schedules that were played: {found.factor:.2f} of the "
            f"uncalibrated forecast but for rounds, single ones within {found.spread:.0%}"
        )
    scored = [(mean(one.agreement), mean(one.score)) for one in quality.played if one.score]
    if scored:
        (least, worst), (most, best) = min(scored), max(scored)
        screen.print(
            f"task score: {best:.3f} at agreement {most:.3f} to {worst:.3f} at {least:.3f}, "
            f"fitted over {len(scored)} schedules"
        )
    if why := why_not_held(work.scenario):
        screen.print(f"how far drafts hold: not measured, as {why}")
    else:
        screen.print(held_table(quality.held))


def _show_lengths(work: Workspace) -> None:
    from planner.figures.number_format import number

    found = work.lengths()
    written = {name: mean(s.output_tokens[name] for s in found.samples) for name in found.of.reads}
    tokens = ", ".join(f"{name} {number(count)}" for name, count in written.items())
    screen.print(
        f"quality: not measured, as {found.why}; plans go by what was unread when it was written",
        soft_wrap=True,
    )
    screen.print(f"lengths: {len(found.samples)} requests; tokens written, mean: {tokens}")
