"""Plain workers that share a study: every trial once, and none lost with its worker."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState

from planner.search.storage import open_storage
from tests.support.postgres import count_rows

ROOT = Path(__file__).parents[1]
TRIALS = 24
PROGRAM = """
import json, sys, time
from optuna.samplers import RandomSampler
from optuna.study import StudyDirection
from planner.search.workers import work_on

where, name, pause_s, seed = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
mine = []

def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    trial.set_user_attr("worker", seed)
    time.sleep(pause_s)
    mine.append(trial.number)
    return x, 1 - x

work_on(where, name, [StudyDirection.MINIMIZE] * 2, objective, TRIALS, RandomSampler(seed), 1)
print(json.dumps(mine))
""".replace("TRIALS", str(TRIALS))


def worker(where: str, pause_s: float, seed: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, where, "real", str(pause_s), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def trials_of(where: str) -> list[FrozenTrial]:
    storage = open_storage(where).optuna
    (study,) = storage.get_all_studies()
    return storage.get_all_trials(study._study_id)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["journal", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_two_workers_share_a_study(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    where = str(tmp_path / "trials.journal")
    if kind == "postgres":
        where = request.getfixturevalue("postgres_database")
    both = [worker(where, 0.05, seed) for seed in (1, 2)]
    told = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    trials = trials_of(where)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    # One of them may have been in the middle of a trial when the last was complete.
    assert TRIALS <= len(trials) <= TRIALS + 1
    by_worker = [[t.number for t in trials if t.user_attrs["worker"] == seed] for seed in (1, 2)]
    assert by_worker == told
    assert all(told)
    assert len({trial.params["x"] for trial in trials}) == len(trials)


@pytest.mark.slow
@pytest.mark.postgres
def test_the_trial_of_a_worker_that_was_killed_is_done_by_another(postgres_database: str) -> None:
    hanging = worker(postgres_database, 1000.0, 1)
    for table in ("trial_heartbeats", "trial_params"):
        while not count_rows(postgres_database, table):
            time.sleep(0.05)
    hanging.kill()
    hanging.communicate()
    (lost,) = trials_of(postgres_database)
    # Long enough for the heartbeat to be missed while it works.
    worker(postgres_database, 0.2, 2).communicate(timeout=120)
    states = Counter(trial.state for trial in trials_of(postgres_database))
    assert states == {TrialState.FAIL: 1, TrialState.COMPLETE: TRIALS}
    done = [t for t in trials_of(postgres_database) if t.state == TrialState.COMPLETE]
    assert [trial.params for trial in done].count(lost.params) == 1
