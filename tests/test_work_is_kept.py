"""A command that is killed has kept what it finished, and goes on from there; one at a time works
in a folder. All by the command line, in processes of their own.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
import yaml

from planner.api.planning import plan
from planner.results.plans import save_plan
from planner.workspace import Workspace
from profiles.latency.profile import LatencyProfile, save_latency
from profiles.lengths import load_lengths
from profiles.quality.profile import load_quality
from profiles.store import provenance_of_now
from staircase.records import read_records
from tests.support.letter_model import save_letter_model
from tests.test_tune import measured_profile

pytestmark = pytest.mark.slow

# Imported once, by the process of which all commands are forked.
HEAVY = [
    "executor.opened_engines",
    "planner.api.planning",
    "planner.evaluation.validate",
    "planner.profiling.quality_profiling",
]
PATIENCE_S = 250


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a scenario of one tiny model."""
    folder = tmp_path_factory.mktemp("kept")
    save_letter_model(folder / "model")
    asked = [{"query": f"{letter}: how so?"} for letter in "abcdefgh"]
    (folder / "asked.jsonl").write_text("\n".join(map(json.dumps, asked)))
    agents = {name: {"max_tokens": 24, "engine": "e"} for name in "pqz"}
    content = {
        "name": "kept",
        "pipeline": {"moa": {"layers": [["p", "q"]], "answer": "z"}, "agents": agents},
        "engines": {"e": {"model": str(folder / "model")}},
        "requests": {"dataset": "asked.jsonl"},
        "workload": {"requests": 3, "query_tokens": 9, "output_tokens": dict.fromkeys("pqz", 24)},
        "profile": {"requests": 3, "read_levels": [0, 8], "quality_error": 1e-6},
    }
    (folder / "scenario.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


@dataclass(frozen=True)
class Work:
    """A command, and where its work is found.

    Attributes:
        words: after the scenario; ``OUT`` is its folder.
        partial: what it has finished.
        moments: lines of it after which the command is killed.
        result: of its folder, what must be the same however often it was killed.
    """

    command: str
    words: tuple[str, ...]
    partial: str
    moments: tuple[int, int, int]
    result: Callable[[Path], Any]


def answers(out: Path) -> Any:
    records = read_records(out / "record.jsonl")
    return [(one.request, one.question, one.answer, len(one.token_s)) for one in records]


def validated(out: Path) -> Any:
    content = json.loads((out / "validation.json").read_text())["content"]
    return [
        (row["name"], row["measured"]["loss"], row["timeline"]["written"])
        for row in content["rows"]
    ]


def profiled(out: Path) -> Any:
    """All but when it was made."""
    return load_quality(out / "quality.json")


def lengths(out: Path) -> Any:
    return load_lengths(out / "lengths.json")


STEPS = ("--staircase", "constant:6,6,6")
WORKS = (
    Work(
        "run",
        (*STEPS, "--requests", "8", "--save", "OUT/record.jsonl"),
        "record.partial.jsonl",
        (1, 3, 6),
        answers,
    ),
    Work("validate", ("--requests", "4"), "validation.partial.jsonl", (1, 4, 6), validated),
    Work("profile", ("--only", "quality"), "quality.partial.jsonl", (1, 20, 40), profiled),
    Work("profile", ("--only", "lengths"), "lengths.partial.jsonl", (1, 2, 2), lengths),
)


def prepare(scenario: Path, out: Path) -> None:
    """What ``validate`` needs: a latency profile and a plan, once for all."""
    work = Workspace.open(scenario, out)
    save_latency(work.latency_path, LatencyProfile({"e": measured_profile()}, provenance_of_now()))
    known = scenario.parent / "plan.json"
    if not known.exists():
        found = plan(scenario, objectives=["ttft", "unread"], trials=8, out=out)
        save_plan(known, replace(found, front=()))
    copyfile(known, work.plan_path)


def staircase_command(words: list[str], said: Path) -> None:
    """In the new process."""
    from planner.cli.app import main

    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["staircase", *words]
    main()


@dataclass(frozen=True)
class Running:
    process: BaseProcess
    said: Path

    def ends(self) -> tuple[int | None, str]:
        """Exit code, and what it said on one line."""
        self.process.join(PATIENCE_S)
        return self.process.exitcode, " ".join(self.said.read_text().split())


def start(command: str, scenario: Path, out: Path, *words: str) -> Running:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    said = scenario.parent / f"said-{out.name}.txt"
    told = [command, str(scenario), "--out", str(out), *(w.replace("OUT", str(out)) for w in words)]
    process = context.Process(target=staircase_command, args=(told, said), daemon=True)
    process.start()
    return Running(process, said)


def lines_of(path: Path) -> list[str]:
    """Those that are whole."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("work", WORKS, ids=lambda work: " ".join((work.command, *work.words[:2])))
def test_killed_at_three_moments(folder: Path, work: Work) -> None:
    scenario = folder / "scenario.yaml"
    name = work.partial.partition(".")[0]
    whole, cut = folder / f"{name}-whole", folder / f"{name}-cut"
    for out in (whole, cut):
        prepare(scenario, out)
    code, said = start(work.command, scenario, whole, *work.words).ends()
    assert code == 0, said
    partial, kept = cut / work.partial, list[str]()
    for moment in work.moments:
        running = start(work.command, scenario, cut, *work.words)
        wait_until(lambda: len(lines_of(partial)) >= moment or not running.process.is_alive())  # noqa: B023
        running.process.kill()
        running.process.join()
        found = lines_of(partial)
        assert len(found) >= max(moment, len(kept)), running.said.read_text()
        assert found[: len(kept)] == kept, "what was finished stays as it is"
        kept = found
    code, said = start(work.command, scenario, cut, *work.words).ends()
    assert code == 0, said
    assert f"going on with {len(kept)} " in said
    assert not partial.exists()
    assert not list(cut.glob(".*")), "no lock is left"
    assert work.result(cut) == work.result(whole)
    if work.command == "run":
        times = [_token_ps(line) for line in kept]
        assert times == [_record_ps(cut, number) for number in range(len(kept))]


def _token_ps(line: str) -> list[int]:
    timeline = json.loads(line)["item"]["timeline"]
    return [ps - timeline["arrival_ps"] for ps in timeline["answer_ps"]]


def _record_ps(out: Path, number: int) -> list[int]:
    return [round(s * 1e12) for s in read_records(out / "record.jsonl")[number].token_s]
