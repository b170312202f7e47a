"""Trials in a storage: none lost, none doubled, in a journal as in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from optuna.study import StudyDirection

from planner.figures.objectives import Goals, parse_limits, parse_objectives
from planner.results.plans import Candidate
from planner.search.journal import remove_journal
from planner.search.storage import Storage, open_storage
from planner.search.stored_trials import StoredTrials
from planner.search.trial_codec import trial_of
from staircase import Schedule, constant, moa, normal, uniform
from staircase.errors import PlanError
from staircase.metrics.request_metrics import UNDEFINED, summarize

PIPELINE = moa([["a", "b"]], "z")
GOALS = Goals(parse_objectives(["ttft", "quality"]), parse_limits({"stall": 1.0, "tpot": 2.0}))
NAMES = (f"study {number}" for number in count())


def candidate(first: int) -> Candidate:
    schedule = uniform(PIPELINE, constant(first, 8, 4))
    figures = {"ttft_s": summarize([0.1 * first, 0.3]), "agreement": summarize([0.5])}
    times = {"stall_s": summarize([3.0]), "tpot_s": UNDEFINED}
    return Candidate(schedule, figures | times, ("prefill 9 > 8",))


@pytest.fixture(params=["journal", pytest.param("postgres", marks=pytest.mark.postgres)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgres":
        yield request.getfixturevalue("postgres_url")
    else:
        yield str(tmp_path / "out" / "trials.journal")


@pytest.fixture
def name() -> str:
    return next(NAMES)


def kept(where: str, name: str) -> list[Schedule]:
    """What a process that comes later finds."""
    with StoredTrials(open_storage(where), name, GOALS) as log:
        return [known.schedule for known in map(log.recall, map(_schedule, range(50))) if known]


def _schedule(first: int) -> Schedule:
    return uniform(PIPELINE, constant(first, 8, 4)) if first else Schedule()


def numbers(storage: Storage, name: str) -> list[int]:
    study = next(one for one in storage.optuna.get_all_studies() if one.study_name == name)
    return [trial.number for trial in storage.optuna.get_all_trials(study._study_id)]


def test_what_was_noted_is_recalled(where: str, name: str) -> None:
    with StoredTrials(open_storage(where), name, GOALS) as log:
        for first in range(1, 20):
            log.note(candidate(first))
    with StoredTrials(open_storage(where), name, GOALS) as log:
        assert len(log) == 19
        assert str(log.recall(candidate(2).schedule)) == str(candidate(2))
        assert log.recall(Schedule()) is None


def test_another_study_does_not_know_it(where: str, name: str) -> None:
    with StoredTrials(open_storage(where), name, GOALS) as log:
        log.note(candidate(1))
    assert kept(where, name) == [_schedule(1)]
    assert kept(where, next(NAMES)) == []


def test_a_search_that_was_interrupted_has_stored_all(where: str, name: str) -> None:
    with suppress(KeyboardInterrupt), StoredTrials(open_storage(where), name, GOALS) as log:
        for first in range(1, 9):
            log.note(candidate(first))
        raise KeyboardInterrupt
    assert kept(where, name) == [_schedule(first) for first in range(1, 9)]


def test_of_two_with_the_same_forecasts_one_stores_each(where: str, name: str) -> None:
    storages = open_storage(where), open_storage(where)
    with (
        StoredTrials(storages[0], name, GOALS) as one,
        StoredTrials(storages[1], name, GOALS) as two,
    ):
        for first in range(1, 30):
            for log in (one, two):
                log.note(candidate(first))
    assert numbers(open_storage(where), name) == list(range(29))
    assert kept(where, name) == [_schedule(first) for first in range(1, 30)]


def test_people_see_figures_and_limits() -> None:
    trial = trial_of(candidate(16), GOALS)
    assert trial.values == [pytest.approx(0.95), 0.5]
    assert trial.constraints["stall.p90 ≤ 1"] == 2.0
    # A figure that is not defined is as bad as can be, and optuna-dashboard reads a list.
    assert trial.system_attrs["constraints"] == [2.0, float("inf")]
    assert trial.params == {
        "layout": "append_rounds",
        "z: read": 16,
        "z: write": 4,
        "z: then read": 8,
        "z: then write": 4,
    }
    everything = Candidate(uniform(PIPELINE, normal()), candidate(1).forecast)
    assert trial_of(everything, GOALS).params == {"layout": "append_rounds"}


def test_directions_are_those_of_the_figures(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path / "j"))
    with StoredTrials(storage, "s", GOALS):
        (study,) = storage.optuna.get_all_studies()
        assert study.directions == [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE]
        assert study.system_attrs["study:metric_names"] == ["ttft", "quality"]


@pytest.mark.parametrize("cut", [1, 40])
def test_a_line_that_was_cut_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "trials.journal"
    for first in (1, 2):
        with StoredTrials(open_storage(str(path)), "s", GOALS) as log:
            log.note(candidate(first))
    lines = path.read_bytes().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if b"candidate" in line)
    path.write_bytes(b"".join(lines[: last + 1])[: -1 - cut])
    with StoredTrials(open_storage(str(path)), "s", GOALS) as log:
        assert len(log) == 1
        log.note(candidate(2))
    assert kept(str(path), "s") == [_schedule(1), _schedule(2)]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_file_of_something_else_stays_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "notes.md"
    other.write_text("dear diary")
    with pytest.raises(PlanError, match="not a journal"):
        open_storage(str(other))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.md"]
    assert other.read_text() == "dear diary"


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("mysql://me:secret@host/db", "must be postgresql"),
        ("postgresql://me:secret@127.0.0.1:1/db", r"me:\*\*\*@127.0.0.1"),
        ("postgresql://me:secret@127.0.0.1:port/db", "must be postgresql"),
    ],
)
def test_a_wrong_address_is_told_without_its_password(where: str, said: str) -> None:
    with pytest.raises(PlanError, match=said) as caught:
        open_storage(where)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_journal_is_removed_with_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "trials.journal"
    with StoredTrials(open_storage(str(path)), "s", GOALS) as log:
        log.note(candidate(1))
    remove_journal(path)
    assert list(tmp_path.iterdir()) == []
