"""Trials that take minutes, as real runs do: plain processes that share a study in a storage.

All of it is Optuna's: it numbers the trials, tells every worker's sampler of all of them, and gives
the trial of a worker that died to another (in PostgreSQL, by heartbeat).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import optuna
from optuna.samplers import BaseSampler
from optuna.study import MaxTrialsCallback, StudyDirection
from optuna.trial import TrialState

from planner.search.storage import open_storage

HEARTBEAT_S = 60


def work_on(
    where: str,
    name: str,
    directions: Sequence[StudyDirection],
    objective: Callable[[optuna.Trial], Sequence[float]],
    trials: int,
    sampler: BaseSampler | None = None,
    heartbeat_s: int = HEARTBEAT_S,
) -> optuna.Study:
    """Does trials of the study ``name`` until ``trials`` of all workers are complete.

    Those that are being worked on by then are finished too. Workers need samplers of different
    seeds, and so does one that starts again: a sampler does not know what it suggested before.

    Raises:
        PlanError: the storage cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_storage(where, heartbeat_s)
    with storage.turn():
        study = optuna.create_study(
            storage=storage.optuna,
            sampler=sampler,
            study_name=name,
            directions=list(directions),
            load_if_exists=True,
        )
    complete = (TrialState.COMPLETE,)
    if len(study.get_trials(deepcopy=False, states=complete)) < trials:
        study.optimize(objective, callbacks=[MaxTrialsCallback(trials, states=complete)])
    return study
