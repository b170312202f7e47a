"""A search's forecasts as the trials of a study in a storage, where it finds them again.

The search itself keeps its study in store, as a storage takes milliseconds a trial. What it
forecasts is copied by a thread of its own, all that has come together at a time. A search that was
killed is played again with the forecasts that are stored: none is lost and none made twice.
Searches of another seed share them.
"""

from __future__ import annotations

import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from planner.figures.objectives import Goals
from planner.results.plans import Candidate
from planner.search.storage import Storage, first_line
from planner.search.trial_codec import candidate_of, trial_of
from staircase.errors import PlanError
from staircase.schedule import Schedule


class StoredTrials:
    """A study with one finished trial for each schedule that was forecast. A context manager."""

    def __init__(self, storage: Storage, name: str, goals: Goals) -> None:
        self._storage = storage
        self._name = name
        self._goals = goals
        self._known: dict[str, Candidate] = {}
        self._stored: set[str] = set()
        self._waiting: deque[Candidate] = deque()
        self._writer = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None
        self._read_trials = 0

    def __len__(self) -> int:
        return len(self._known)

    def __enter__(self) -> Self:
        with self._storage.turn():
            self._study = _opened(self._storage, self._name, self._goals)
            self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._writer.shutdown()
        if kind is None:
            self._check()

    def recall(self, schedule: Schedule) -> Candidate | None:
        return self._known.get(schedule.key)

    def note(self, candidate: Candidate) -> None:
        """Raises PlanError if what was noted before could not be stored."""
        self._known[candidate.schedule.key] = candidate
        self._waiting.append(candidate)
        if self._last and self._last.done():
            self._check()
        self._last = self._writer.submit(self._write)

    def _check(self) -> None:
        try:
            if self._last:
                self._last.result()
        except (StorageInternalError, SQLAlchemyError, OSError) as error:
            raise PlanError(f"{self._storage.where}: {first_line(error)}") from None

    def _write(self) -> None:
        """Stores what waits and no other process has stored."""
        if not self._waiting:
            return
        with self._storage.turn():
            self._read()
            while self._waiting:
                if self._waiting[0].schedule.key not in self._stored:
                    self._study.add_trial(trial_of(self._waiting[0], self._goals))
                self._stored.add(self._waiting.popleft().schedule.key)

    def _read(self) -> None:
        """What has come since the last time, of this and of other processes."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        for trial in trials[self._read_trials :]:
            candidate = candidate_of(trial)
            self._known.setdefault(candidate.schedule.key, candidate)
            self._stored.add(candidate.schedule.key)
        self._read_trials = len(trials)


def _opened(storage: Storage, name: str, goals: Goals) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    gains = [objective.is_gain for objective in goals.objectives]
    study = optuna.create_study(
        storage=storage.optuna,
        study_name=name,
        directions=[StudyDirection.MAXIMIZE if g else StudyDirection.MINIMIZE for g in gains],
        load_if_exists=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([objective.name for objective in goals.objectives])
    return study
