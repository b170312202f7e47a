"""Measuring profiles: what engines cost, and what reading less costs in quality."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.given import refuse
from planner.cli.terminal import (
    AsJson,
    OutFolder,
    ScenarioPath,
    finite,
    on_terminal,
    open_workspace,
    print_json,
    screen,
)
from staircase.bounds import LEAST_BUDGET_S, LONGEST_RUN_S

if TYPE_CHECKING:
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
    from planner.api.profiling import profiles_of

    if only is Kind.QUALITY:
        refuse(ctx, "budget", why="it is for latency, and --only quality is asked for")
    work = open_workspace(scenario, out).with_budget(budget)
    paths = profiles_of(work, only.value if only else None, on_terminal())
    if as_json:
        print_json({kind: str(path) for kind, path in paths.items()})
    else:
        show_profiles(work, paths.items())


def show_profiles(work: Workspace, measured: Iterable[tuple[str, Path]]) -> None:
    """What was ``measured``: kinds, and files."""
    shown = {
        Kind.LATENCY: _show_latency,
        Kind.QUALITY: _show_quality,
        Kind.LENGTHS: _show_lengths,
    }
    for kind, path in measured:
        shown[Kind(kind)](work)
        screen.print(f"written: {path}", soft_wrap=True)


def _show_latency(work: Workspace) -> None:
    from planner.profiling.profile_warnings import latency_notes, pass_notes
    from planner.profiling.profile_words import latency_lines

    found = work.latency()
    guesses = pass_notes(work.scenario.real, found.engines)
    for words in [*latency_lines(found), *latency_notes(found.engines), *guesses]:
        screen.print(words)


def _show_quality(work: Workspace) -> None:
    from planner.profiling.quality_profiling import loss_error, why_not_held
    from planner.tables.held_table import held_table
    from profiles.quality.calibration import loss_calibration

    quality = work.quality()
    _show_guesses(work)
    screen.print(
        f"quality: {len(quality.samples)} requests, read levels {list(quality.read_levels)}; "
        f"loss within {loss_error(quality.samples):.1%}"
    )
    if not quality.played:
        screen.print("loss is not calibrated: no schedule was played")
    kinds = ["interleave" if one == "interleave" else "flat" for one in quality.layouts]
    for layout in dict.fromkeys(kinds if quality.played else ()):
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
    _show_guesses(work)


def _show_guesses(work: Workspace) -> None:
    """Of texts that are guessed."""
    from planner.tables.guess_table import guess_table

    if texts := work.guessed_texts():
        screen.print(guess_table(texts))
