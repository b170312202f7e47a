"""What the command line does, from Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import planner
from staircase.errors import InputError
from staircase.schedule import constant
from tests.support.command_line import staircase

ROOT = Path(__file__).parents[1]
PAPER, LAYERS = (ROOT / "examples" / name for name in ("paper_moa.yaml", "two_layers.yaml"))


def printed(*words: str | Path) -> Any:
    done = staircase(*map(str, words), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_all_that_is_named_is_there() -> None:
    assert all(callable(getattr(planner, name)) for name in planner.__all__)


def test_simulate_says_what_the_command_prints() -> None:
    found = planner.simulate(PAPER, "constant:8,128,60", requests=3, replicates=2)
    words = ["--staircase", "constant:8,128,60", "--requests", "3", "--replicates", "2"]
    told = printed("simulate", PAPER, *words)["forecast"]
    assert {name: one.mean for name, one in found.metrics.items()} == {
        name: told[name]["mean"] for name in found.metrics
    }
    assert len(found.timelines) == 3


def test_a_schedule_may_be_one() -> None:
    scenario = planner.load_scenario(PAPER)
    pipeline = scenario.pipeline.build()
    schedule = planner.uniform_schedule(pipeline, "constant:8,128,60", "rebuild")
    assert schedule.staircases == {"aggregator": constant(8, 128, 60)}
    one, other = (planner.simulate(scenario, some, requests=3) for some in (schedule, "normal"))
    assert one.metrics["ttft_s"].mean < other.metrics["ttft_s"].mean


def test_capacity_takes_seconds() -> None:
    found = planner.capacity(LAYERS, {"ttft": 30.0}, share=0.8, requests=20)
    told = printed("capacity", LAYERS, "--slo", "ttft:30000", "--share", "0.8", "--requests", "20")
    assert found.rate_per_s == told["rate_per_s"]


def test_compare_takes_files(tmp_path: Path) -> None:
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    for path, steps in ((one, "normal"), (other, "constant:8,128,60")):
        words = ["--requests", "3", "--staircase", steps, "--save", str(path)]
        printed("simulate", PAPER, *words)
    found = planner.compare(one, other, reading_rate=4.0)
    told = printed("compare", one, other, "--reading-rate", "4")
    assert found.metrics["ttft_s"].bias == told["metrics"]["ttft_s"]["bias"]


def test_files_are_named_by_words_too(tmp_path: Path) -> None:
    found = planner.plan(planner.load_scenario(str(PAPER)), trials=3, out=tmp_path, write=True)
    assert planner.load_plan(str(tmp_path / "plan.json")).chosen == found.chosen
    with pytest.raises(InputError, match=r"nowhere\.yaml: no such file"):
        planner.load_scenario("nowhere.yaml")


def test_a_plan_is_explained_and_reported(tmp_path: Path) -> None:
    found = planner.plan(PAPER, trials=10)
    assert planner.describe_schedule(found.named()["chosen"].schedule) in planner.explain(found)
    planner.write_report(tmp_path / "report.html", found)
    assert "</html>" in (tmp_path / "report.html").read_text()


def embedded(folder: Path) -> Path:
    """The demo, smaller."""
    content = yaml.safe_load((ROOT / "planner" / "demo.yaml").read_text())
    content["engines"] = {name: {"model": "embedded"} for name in content["engines"]}
    for agent in content["pipeline"]["agents"].values():
        agent["max_tokens"] = 12
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_run_plays_questions_and_keeps_a_record(tmp_path: Path) -> None:
    path, record = embedded(tmp_path), tmp_path / "record.jsonl"
    heard: list[str] = []
    progress = planner.Progress(say=lambda words: heard.extend(words))
    found = planner.run(
        path, None, "constant:4,4,4", requests=2, save=record, progress=progress, out=tmp_path
    )
    assert [one.written["editor"] for one in found.timelines] == [12, 12]
    assert all(one.answer for one in found.exchanges)
    assert len(record.read_text().splitlines()) >= 2


# Of any type: what is wrong with it is to be said when it runs.
door: Any = planner


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: door.simulate(5), "^scenario: 5 must be a scenario file or a Scenario"),
        (lambda: door.simulate(PAPER, "normal", requests=0), "^requests: 0 must be a whole"),
        (lambda: door.simulate(PAPER, replicates=1.5), r"^replicates: 1.5 must be a whole"),
        (lambda: door.simulate(PAPER, "constant:8"), "constant"),
        (lambda: door.capacity(LAYERS, {}), r"^slo \{\}: must be a mapping of ttft"),
        (lambda: door.capacity(LAYERS, {"itl": 1.0}), "must be a mapping of ttft"),
        (lambda: door.capacity(LAYERS, {"ttft": "2"}), "^slo 'ttft': '2' must be seconds"),
        (lambda: door.capacity(LAYERS, {"ttft": -1.0}), "^slo 'ttft': -1.0 must be seconds"),
        (lambda: door.profile(PAPER, only="speed"), "^only: 'speed' must be one of latency"),
        (lambda: door.profile(PAPER, budget_s=-3.0), "^profile.budget_s: "),
        (lambda: door.validate(PAPER, requests=True), "^requests: True must be a whole"),
        (lambda: door.run(PAPER, []), r"^questions: \[\] must be a text or a list of texts"),
        (lambda: door.run(PAPER, requests=0), "^requests: 0 must be a whole"),
        (lambda: door.compare("nowhere", "there"), "nowhere: no such file"),
        (lambda: door.tune(PAPER, rounds=0), "^rounds: 0 must be a whole"),
        (lambda: door.tune(PAPER, requests=0), "^requests: 0 must be a whole"),
        (lambda: door.tune(PAPER, front=False), "^front: False must be a whole"),
        (lambda: door.tune(PAPER, tolerance="5 %"), "^tolerance: '5 %' must be a number from"),
        (lambda: door.tune(PAPER, budget_s=-1.0), "^budget_s: -1.0 must be a number from"),
        (lambda: door.tune(PAPER), "is simulated: there is nothing to measure and tune"),
        (lambda: door.judge(PAPER, "one", "other"), "^judge: is missing"),
        (lambda: door.plan_variants(PAPER), "variants"),
    ],
)
def test_arguments_are_checked_in_a_line(call: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
