"""Profiling: what ``staircase profile`` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from executor.line_log import ItemLog
from executor.measure.quality_log import QualityLog
from executor.measure.sample_log import SampleLog
from executor.opened_engines import OpenedEngines
from planner.api.engines import engines_of
from planner.api.opening import AnyScenario, workspace_of
from planner.kept_work import kept_work
from planner.profiling.latency_profiling import keys_of, make_latency
from planner.profiling.length_profiling import lengths_key, make_lengths
from planner.profiling.quality_profiling import make_quality, quality_key
from planner.profiling.text_batches import in_batches
from planner.progress import SILENT, Progress
from planner.sole_use import sole_use
from planner.workspace import Workspace
from profiles.latency.profile import save_latency
from profiles.lengths import LengthSample, save_lengths
from profiles.quality.profile import save_quality
from staircase.errors import InputError, ScenarioError
from staircase.files import check_writable

Kind = Literal["latency", "quality", "lengths"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def profile(
    scenario: AnyScenario,
    *,
    only: Kind | None = None,
    budget_s: float | None = None,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> dict[Kind, Path]:
    """Measures what the scenario's engines cost and what reading less costs in quality.

    Where quality cannot be measured, it measures how long texts are. What was interrupted goes on
    where it was.

    Args:
        only: measure this alone.
        budget_s: seconds for latency, instead of the scenario's.
        out: folder of results [default: runs/NAME].

    Returns:
        The files that were written. One that the scenario names and that is there is never written.

    Raises:
        InputError: the scenario is wrong, what is asked for cannot be measured, or its file is
            there.
        EngineError: an engine failed.
    """
    if only is not None and only not in KINDS:
        raise InputError(f"only: {only!r} must be one of {', '.join(KINDS)}")
    return profiles_of(workspace_of(scenario, out).with_budget(budget_s), only, progress)


def profiles_of(
    work: Workspace, only: Kind | None = None, progress: Progress = SILENT
) -> dict[Kind, Path]:
    """The same of a workspace."""
    given = work.given_profiles()
    if only in given:
        raise ScenarioError(
            f"profile.{only}: {given[only]} is there and is not overwritten; name a file that is "
            "not there yet, or leave the key out"
        )
    progress.say(
        f"{path}: named under profile.{kind}, used as it is" for kind, path in given.items()
    )
    if only is None and {"latency", "quality"} <= given.keys():
        return {}
    for path in {work.latency_path, work.quality_path, work.lengths_path} - {*given.values()}:
        check_writable(path)
    with sole_use(work.folder, "profile"):
        found: dict[Kind, Path] = {}
        if only in (None, "latency") and "latency" not in given:
            found["latency"] = _latency(work, progress)
        if only != "latency" and (only or "quality" not in given):
            found |= _texts(work, only, given, progress)
        return found


def _texts(
    work: Workspace, only: Kind | None, given: Mapping[str, Path], progress: Progress
) -> dict[Kind, Path]:
    """Quality, or how long texts are. No clock counts, so engines write in batches."""
    with engines_of(in_batches(work.scenario), progress, True) as opened:
        kind = only or _wanted(work, opened, progress)
        if kind is None or kind in given:
            return {}
        return {kind: (_quality if kind == "quality" else _lengths)(work, opened, progress)}


def _wanted(work: Workspace, opened: OpenedEngines, progress: Progress) -> Kind | None:
    """A workload that is given says how long texts are."""
    why = opened.why_no_scores(work.scenario.pipeline.build()) or work.why_not_scored
    if why is None:
        return "quality"
    progress.say([f"quality cannot be measured: {why}"])
    return None if work.scenario.workload else "lengths"


def _latency(work: Workspace, progress: Progress) -> Path:
    keys = keys_of(work.scenario).values()
    with (
        engines_of(work.scenario, progress, True) as opened,
        kept_work(work.samples_path, keys, "samples", progress) as kept,
        progress.tracking(between_steps=True) as track,
    ):
        log = SampleLog(kept)
        save_latency(work.latency_path, make_latency(work.scenario, opened, log, track))
    # It corrects a profile that is gone now.
    work.tuned_path.unlink(missing_ok=True)
    return work.latency_path


def _quality(work: Workspace, opened: OpenedEngines, progress: Progress) -> Path:
    key = quality_key(work.scenario)
    with (
        kept_work(work.quality_samples_path, QualityLog.keys(key), "samples", progress) as kept,
        progress.tracking() as track,
    ):
        log = QualityLog.of(kept, key)
        found = make_quality(
            in_batches(work.scenario), work.source, opened.with_inputs_at_once(), log, track
        )
        save_quality(work.quality_path, found)
    return work.quality_path


def _lengths(work: Workspace, opened: OpenedEngines, progress: Progress) -> Path:
    unscored = opened.why_no_scores(work.scenario.pipeline.build()) or work.why_not_scored
    why = unscored or "it was not asked for"
    key = lengths_key(work.scenario)
    with (
        kept_work(work.length_samples_path, [key], "samples", progress) as lines,
        progress.tracking() as track,
    ):
        kept = ItemLog(lines, key, LengthSample)
        found = make_lengths(
            in_batches(work.scenario), work.source, opened.with_inputs_at_once(), why, kept, track
        )
        save_lengths(work.lengths_path, found)
    return work.lengths_path
