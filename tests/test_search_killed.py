"""A search that is killed goes on where it was; several that share a storage do not get in each
other's way. All by the command line, in processes of their own.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from planner.results.plans import Plan, load_plan
from planner.search.storage import open_storage
from tests.support.postgres import count_rows

ROOT = Path(__file__).parents[1]
SCENARIO = ROOT / "examples" / "paper_moa.yaml"
TRIALS = 120

pytestmark = pytest.mark.slow


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "planner.cli.app",
        "plan",
        str(SCENARIO),
        "--trials",
        str(TRIALS),
    ]
    return subprocess.Popen(
        [*command, "--out", str(folder), *options], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What it said, on one line."""
    _, said = process.communicate(timeout=250)
    assert process.returncode == 0, said
    return " ".join(said.split())


def stored(where: str) -> list[str]:
    """The schedules of all trials in the storage's only study, by their numbers."""
    storage = open_storage(where).optuna
    (study,) = storage.get_all_studies()
    trials = storage.get_all_trials(study._study_id)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    return [str(trial.user_attrs["candidate"]["schedule"]) for trial in trials]


def schedules(plans: Iterable[Plan]) -> set[str]:
    return {repr(one.schedule) for plan in plans for one in plan.candidates}


@pytest.mark.parametrize(
    "kind", ["default", "journal", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def test_killed_and_resumed_is_the_same_plan(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    journal = tmp_path / "cut" / "trials.journal"
    where = request.getfixturevalue("postgres_database") if kind == "postgres" else str(journal)
    options = () if kind == "default" else ("--storage", where)
    finish(start(tmp_path / "whole"))
    cut = start(tmp_path / "cut", *options)
    while cut.poll() is None and not _has_trials(where, 20):
        time.sleep(0.02)
    cut.send_signal(signal.SIGKILL)
    cut.wait()
    known = len(stored(where))
    assert 20 <= known < TRIALS
    assert f"going on with {known} forecasts" in finish(start(tmp_path / "cut", *options))
    plans = [load_plan(tmp_path / name / "plan.json") for name in ("whole", "cut")]
    assert plans[0] == plans[1]
    assert len(plans[0].candidates) == TRIALS
    if kind == "default":
        assert not journal.exists()
    else:
        assert len(stored(where)) == len(set(stored(where))) == TRIALS


def _has_trials(where: str, least: int) -> bool:
    if "://" in where:
        return count_rows(where, "trials where state = 'COMPLETE'") >= least
    return Path(where).is_file() and Path(where).read_text().count("candidate") >= least


@pytest.mark.parametrize("kind", ["journal", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_two_searches_share_a_storage(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """Of another seed each, and a third that asks for what the first does."""
    journal = str(tmp_path / "trials.journal")
    where = request.getfixturevalue("postgres_database") if kind == "postgres" else journal
    seeds = ("0", "1", "0")
    running = [
        start(tmp_path / str(number), "--storage", where, "--seed", seed)
        for number, seed in enumerate(seeds)
    ]
    for process in running:
        finish(process)
    plans = [load_plan(tmp_path / str(number) / "plan.json") for number in range(len(seeds))]
    finish(start(tmp_path / "alone", "--seed", "1"))
    assert plans[1] == load_plan(tmp_path / "alone" / "plan.json")
    assert plans[0] == plans[2] != plans[1]
    found = stored(where)
    assert len(found) == len(set(found)) == len(schedules(plans))
