"""``staircase tune`` from the command line: wrong input, an interrupt, what it leaves."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from planner.results.plans import load_plan
from planner.workspace import Workspace
from profiles.latency.profile import LatencyProfile, save_latency
from profiles.latency.tuning import Correction, Tuning
from profiles.store import provenance_of_now, stored_hash
from tests.support.command_line import staircase
from tests.test_cli import DEMO, ROOT, wait_for
from tests.test_tune import measured_profile

ENGINES = ("north", "south", "east", "editor")


def save_profiles(folder: Path, base: str | None = None) -> Workspace:
    """A measured profile, and a tuned one that says to be of ``base``."""
    work = Workspace.open(DEMO, folder)
    latency = LatencyProfile(dict.fromkeys(ENGINES, measured_profile()), provenance_of_now())
    save_latency(work.latency_path, latency)
    correction = Correction(1.0, 2.0, 1.0, 0.0)
    corrections: dict[str, Correction] = dict.fromkeys(ENGINES, correction)
    tuned = LatencyProfile(
        dict.fromkeys(ENGINES, measured_profile().corrected(correction)),
        provenance_of_now(),
        Tuning(base or stored_hash(work.latency_path), corrections, 1.0, (1,), ()),
    )
    save_latency(work.tuned_path, tuned)
    return work


def test_forecasts_use_a_tuned_profile_of_the_measured_one(tmp_path: Path) -> None:
    work = save_profiles(tmp_path)
    twice_s = 2 * measured_profile().decode_s(1, 100)
    assert work.latency()["north"].decode_s(1, 100) == pytest.approx(twice_s)
    assert work.profile_hashes()["latency"] == stored_hash(work.tuned_path)
    assert work.measured_latency()["north"].decode_s(1, 100) == pytest.approx(twice_s / 2)


def test_a_tuned_profile_of_another_one_is_not_used(tmp_path: Path) -> None:
    work = save_profiles(tmp_path, base="another")
    assert work.latency() == work.measured_latency()
    assert work.profile_hashes()["latency"] == stored_hash(work.latency_path)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["planner/demo.yaml"], "latency.json: no latency profile; measure one with"),
        (["examples/paper_moa.yaml"], "is simulated: there is nothing to measure and tune"),
        (["nowhere.yaml"], "nowhere.yaml: no such file"),
    ],
)
def test_wrong_input_gets_one_line_and_exit_code_2(
    words: list[str], told: str, tmp_path: Path
) -> None:
    done = staircase("tune", *words, "--out", str(tmp_path))
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_edited_profile_is_told(tmp_path: Path) -> None:
    work = save_profiles(tmp_path)
    work.tuned_path.write_text(work.tuned_path.read_text().replace('"pace":1.0', '"pace":2.0'))
    done = staircase("plan", "planner/demo.yaml", "--out", str(tmp_path))
    assert done.returncode == 2
    assert f"error: {work.tuned_path}: was edited" in done.stderr


@pytest.mark.slow
def test_an_interrupted_tuning_goes_on_and_leaves_a_plan(tmp_path: Path) -> None:
    path, out = tmp_path / "small.yaml", tmp_path / "out"
    text = DEMO.read_text()
    for much, little in (("requests: 48", "requests: 4"), ("requests: 24", "requests: 6")):
        text = text.replace(much, little)
    path.write_text(text.replace("trials: 200", "trials: 12"))
    assert staircase("profile", str(path), "--out", str(out), "--budget", "1").returncode == 0
    words = ["tune", str(path), "--out", str(out), "--requests", "4", "--front", "1"]
    words += ["--rounds", "1", "--json"]
    partial = out / "tuning.partial.jsonl"
    command = [sys.executable, "-m", "planner.cli.app", *words]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as running:
        wait_for(lambda: partial.exists() and partial.read_text().count("\n") >= 6)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert f"kept: {partial}; the same command goes on from there" in told
    done = staircase(*words)
    assert done.returncode == 0, done.stderr
    assert re.search(r"going on with \d+ runs of ", done.stderr)
    assert not partial.exists()
    said = json.loads(done.stdout)
    work = Workspace.open(path, out)
    tuning = work.latency().tuning
    assert tuning
    assert tuning.base == stored_hash(work.latency_path)
    assert [one["evaluated"]["number"] for one in said["rounds"]] == [
        r.number for r in tuning.rounds
    ]
    assert load_plan(work.plan_path).profile_hashes == work.profile_hashes()
