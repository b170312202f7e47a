"""A search that is killed goes on where it was."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from planner.plans import Candidate, load_plan
from planner.trial_log import TrialLog
from staircase import Schedule, constant, moa, uniform
from staircase.metrics import summarize

ROOT = Path(__file__).parents[1]
PIPELINE = moa([["a", "b"]], "z")


def candidate(first: int) -> Candidate:
    schedule = uniform(PIPELINE, constant(first, 8, 4))
    return Candidate(schedule, {"ttft_s": summarize([0.1 * first, 0.3])}, ("prefill 9 > 8",))


def written(path: Path, *candidates: Candidate) -> None:
    with suppress(KeyboardInterrupt), TrialLog(path, "key") as log:
        for one in candidates:
            log.note(one)
        raise KeyboardInterrupt


def test_what_was_noted_is_recalled(tmp_path: Path) -> None:
    path = tmp_path / "out" / "trials.jsonl"
    written(path, candidate(1), candidate(2))
    with TrialLog(path, "key") as log:
        assert len(log) == 2
        assert log.recall(candidate(2).schedule) == candidate(2)
        assert log.recall(Schedule()) is None
    assert not path.exists()


def test_another_search_begins_anew(tmp_path: Path) -> None:
    written(tmp_path / "t", candidate(1))
    with TrialLog(tmp_path / "t", "other") as log:
        assert len(log) == 0


@pytest.mark.parametrize("cut", [1, 40])
def test_a_line_that_was_cut_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "trials.jsonl"
    written(path, candidate(1), candidate(2))
    path.write_bytes(path.read_bytes()[: -1 - cut])
    with TrialLog(path, "key") as log:
        assert len(log) == 1
        log.note(candidate(2))
        assert len(path.read_text().splitlines()) == 3


def test_a_file_of_something_else_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"\xff\xfe\x00")
    with TrialLog(tmp_path / "t", "key") as log:
        assert len(log) == 0


@pytest.mark.slow
def test_killed_and_resumed_is_the_same_plan(tmp_path: Path) -> None:
    _plan(tmp_path / "whole").communicate(timeout=250)
    cut = _plan(tmp_path / "cut")
    log = tmp_path / "cut" / "trials.jsonl"
    while cut.poll() is None and not (log.is_file() and log.read_text().count("\n") > 20):
        time.sleep(0.02)
    cut.send_signal(signal.SIGKILL)
    cut.wait()
    known = log.read_text().splitlines()
    assert 20 < len(known) < 121
    again = _plan(tmp_path / "cut")
    _, said = again.communicate(timeout=250)
    assert f"going on with {len(known) - 1} forecasts" in " ".join(said.split())
    plans = [load_plan(tmp_path / name / "plan.json") for name in ("whole", "cut")]
    assert plans[0] == plans[1]
    assert len(plans[0].candidates) == 120


def _plan(folder: Path) -> subprocess.Popen[str]:
    scenario = ROOT / "examples" / "paper_moa.yaml"
    command = [sys.executable, "-m", "planner.cli", "plan", str(scenario), "--trials", "120"]
    return subprocess.Popen(
        [*command, "--out", str(folder)], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
