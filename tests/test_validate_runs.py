"""What ``validate`` plays and asks models about, and that none of it is done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from executor.line_log import LineLog
from executor.measure.measure_quality import MeasuredQuality, measure_quality
from executor.opened_engines import open_engines
from executor.scorer import ForcedText
from executor.scoring.likelihood import OtherReader
from planner.evaluation.model_figures import ModelFigures, left_out, likelihood_figures
from planner.evaluation.validate import contenders, validate
from planner.figures.json_pointers import Figures
from planner.profiling.latency_profiling import requests_key
from planner.report.report_words import likelihood_rows
from planner.results.plans import Candidate, Plan
from planner.results.validation import LeftOut, Validation, load_validation, save_validation
from planner.results.validation_log import ValidationLog
from planner.tables.validation_table import text_cells
from profiles.store import provenance_of_now
from staircase.errors import ModelError
from staircase.metrics.request_metrics import summarize
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule, constant, uniform
from staircase.spec.scenario import Scenario, load_scenario
from tests.support.command_line import staircase
from tests.support.letter_model import save_letter_model
from tests.support.plans import paper_plan

REQUESTS, SCHEDULES = 3, 3
RUNS = REQUESTS * SCHEDULES


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """Two proposers that sample, and a greedy editor, of one tiny model; another one is asked."""
    folder = tmp_path_factory.mktemp("letters")
    save_letter_model(folder / "model")
    save_letter_model(folder / "other", seed=7)
    (folder / "asked.jsonl").write_text("".join(f'{{"query": "{one}: why?"}}\n' for one in "abc"))
    sampling = {"model": str(folder / "model"), "temperature": 1.0}
    content = {
        "name": "letters",
        "pipeline": {
            "moa": {"layers": [["p", "q"]], "answer": "z"},
            "agents": {name: {"max_tokens": 24} for name in "pqz"},
        },
        "engines": {
            "p": {**sampling, "seed": 1},
            "q": {**sampling, "seed": 2},
            "z": {"model": str(folder / "model")},
        },
        "requests": {
            "dataset": str(folder / "asked.jsonl"),
            "likelihood_by": str(folder / "other"),
        },
    }
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_scenario(path)


def plan_of(pipeline: Pipeline) -> Plan:
    """The choice reads a little, writes all, and leaves the drafts unfinished."""
    forecast = {name: summarize([1.0]) for name in ("ttft_s", "smooth_start_s", "e2e_s")}
    schedules = (uniform(pipeline, constant(4, 4, 12)), Schedule())
    candidates = tuple(Candidate(schedule, forecast) for schedule in schedules)
    return Plan("x", ("ttft",), (), candidates, (0, 1), 0, 1, 1, 5.3, {}, provenance_of_now())


def changed(scenario: Scenario, **requests: Any) -> Scenario:
    return scenario.model_copy(update={"requests": scenario.requests.model_copy(update=requests)})


@dataclass
class Bars:
    """What progress bars show."""

    totals: dict[str, int | None] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)

    def track(self, what: str, total: int | None) -> Callable[[], None]:
        self.totals[what] = total
        return lambda: self.done.update([what])


def checked(
    scenario: Scenario, kept: ValidationLog | None = None, bars: Bars | None = None
) -> Validation:
    plan = plan_of(scenario.pipeline.build())
    with open_engines(scenario) as opened:
        found, _ = validate(
            scenario, Path(), plan, opened, REQUESTS, 0, (bars or Bars()).track, kept=kept
        )
    return found


def log_in(folder: Path, scenario: Scenario) -> ValidationLog:
    lines = LineLog(folder / "log.jsonl", ValidationLog.keys("key", scenario))
    return ValidationLog.of(lines, "key", scenario)


def test_drafts_of_a_question_are_drawn_alike_under_every_schedule(
    scenario: Scenario, tmp_path: Path
) -> None:
    plan = plan_of(scenario.pipeline.build())
    with open_engines(scenario) as opened:
        _, played = validate(scenario, tmp_path, plan, opened, REQUESTS, front=0)
    by_question: dict[str, list[dict[str, str]]] = {}
    for runs in played.values():
        for run in runs:
            texts = {name: run.outcome.texts[name] for name in "pq"}
            by_question.setdefault(run.question.text, []).append(texts)
    for drafts in by_question.values():
        for name in "pq":
            whole = max((one[name] for one in drafts), key=len)
            assert len(whole) == 24
            assert all(whole.startswith(one[name]) for one in drafts)
    assert len({drafts[0]["p"] for drafts in by_question.values()}) == 3, "questions draw their own"


def test_likelihood_stands_beside_normal_s_of_the_same_questions(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was read, the other model is asked after the same prompt, with whole drafts."""
    asked: list[ForcedText] = []
    text_of = OtherReader.text

    def text(*given: Any) -> ForcedText:
        asked.append(text_of(*given))
        return asked[-1]

    monkeypatch.setattr(OtherReader, "text", text)
    found = checked(scenario)
    prompts = Counter(tuple(one.ids[: one.positions[0]]) for one in asked)
    assert list(prompts.values()) == [SCHEDULES] * REQUESTS
    assert len({tuple(one.ids) for one in asked}) > REQUESTS, "answers differ"
    rows = {row.name: row.measured for row in found.rows}
    normal, chosen = rows["normal"], rows["chosen"]
    assert "beyond_normal" not in normal
    assert chosen["beyond_normal"].mean == pytest.approx(
        chosen["log_likelihood"].mean - normal["log_likelihood"].mean
    )
    assert all(row["log_likelihood"].mean < -0.1 for row in rows.values())
    assert text_cells(found).columns[-2:] == ("log-likelihood", "beyond normal")
    (line,) = found.likelihood_lines
    assert f"under {scenario.requests.likelihood_by} after" in line


def test_there_is_no_column_without_a_model(scenario: Scenario) -> None:
    found = checked(changed(scenario, likelihood_by=None))
    assert "log-likelihood" not in text_cells(found).columns
    assert not list(found.likelihood_lines)
    assert all("log_likelihood" not in row.measured for row in found.rows)
    assert "loss" in found.rows[0].measured


def test_every_score_has_its_bar(scenario: Scenario, tmp_path: Path) -> None:
    bars, again = Bars(), Bars()
    checked(scenario, log_in(tmp_path, scenario), bars)
    checked(scenario, log_in(tmp_path, scenario), again)
    likelihoods = bars.totals.pop("likelihood of the answers")
    assert bars.totals == {"real runs": RUNS, "quality of what was written": RUNS}
    assert likelihoods
    assert bars.done == {**bars.totals, "likelihood of the answers": likelihoods}
    assert again.done == bars.done


def strip(found: Validation) -> list[Any]:
    names = ("loss", "agreement", "nll_gap", "log_likelihood", "beyond_normal", "e2e_s")
    return [[row.measured.get(name) for name in names] for row in found.rows]


def test_scoring_goes_on_where_it_was(
    scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while quality is measured, then while the other model is asked."""
    measure, ask = measure_quality, OtherReader.log_likelihoods
    measured, said = list[MeasuredQuality](), list[float]()

    def measure_some(*given: Any) -> MeasuredQuality:
        if len(measured) == 4:
            raise KeyboardInterrupt
        measured.append(measure(*given))
        return measured[-1]

    def ask_some(reader: OtherReader, texts: Any) -> Any:
        for value in ask(reader, texts):
            said.append(value)
            yield value
            if len(said) == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("planner.evaluation.model_figures.measure_quality", measure_some)
        with pytest.raises(KeyboardInterrupt):
            checked(scenario, log_in(tmp_path, scenario))
    kept = log_in(tmp_path, scenario)
    assert (len(kept.runs), len(kept.quality), len(kept.likelihood)) == (RUNS, 4, 0)
    with monkeypatch.context() as patch:
        patch.setattr(OtherReader, "log_likelihoods", ask_some)
        with pytest.raises(KeyboardInterrupt):
            checked(scenario, log_in(tmp_path, scenario))
    kept = log_in(tmp_path, scenario)
    assert (len(kept.runs), len(kept.quality), len(kept.likelihood)) == (RUNS, RUNS, 2)
    found = checked(scenario, kept)
    lines = (tmp_path / "log.jsonl").read_text()
    # All again from the same runs.
    afresh = replace(log_in(tmp_path / "new", scenario), runs=kept.runs)
    assert strip(checked(scenario, afresh)) == strip(found)
    assert strip(checked(scenario, log_in(tmp_path, scenario))) == strip(found)
    assert (tmp_path / "log.jsonl").read_text() == lines, "nothing is done again"


def test_a_score_is_of_the_run_that_was_scored(scenario: Scenario, tmp_path: Path) -> None:
    """Where a run is played again, it is scored again."""
    checked(scenario, log_in(tmp_path, scenario))
    path = tmp_path / "log.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    checked(scenario, log_in(tmp_path, scenario))
    kept = log_in(tmp_path, scenario)
    assert len(kept.runs) == RUNS
    # The first one is normal's, beside which others of its question are.
    assert len(kept.quality) == RUNS + SCHEDULES


def test_answers_without_a_likelihood_are_counted(scenario: Scenario, tmp_path: Path) -> None:
    """And in no mean; beside normal's only those are that both have."""
    normal = [ModelFigures(None, -2.0), ModelFigures(None, None, "they are empty")]
    chosen = [ModelFigures(None, -1.5), ModelFigures(None, -9.0)]
    assert left_out(normal) == (LeftOut(1, "they are empty"),)
    assert likelihood_figures(normal, [])["log_likelihood"].mean == -2
    assert likelihood_figures(chosen, normal)["beyond_normal"].mean == 0.5
    assert likelihood_figures(normal[1:], []) == {}
    plain = checked(scenario)
    found = replace(
        plain, rows=(replace(plain.rows[0], left_out=left_out(normal)), *plain.rows[1:])
    )
    words = f"1 of {REQUESTS} answers have no likelihood: they are empty"
    assert list(found.likelihood_lines)[1:] == [f"normal: {words}"]
    save_validation(tmp_path / "v.json", found)
    assert load_validation(tmp_path / "v.json") == found
    content = TypeAdapter(Validation).dump_python(found, mode="json")
    told = likelihood_rows(Figures({"validation": content}), found)
    assert words in told[1]


def test_the_key_has_no_say_in_what_is_played(scenario: Scenario) -> None:
    assert requests_key(changed(scenario, likelihood_by=None)) == requests_key(scenario)


def test_a_model_that_cannot_be_loaded_is_told_before_anything_is_played(
    scenario: Scenario, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    save_letter_model(broken)
    (broken / "model.safetensors").write_bytes(b"none")
    bars = Bars()
    with pytest.raises(ModelError, match=r"^requests\.likelihood_by: model .* cannot be loaded"):
        checked(changed(scenario, likelihood_by=str(broken)), bars=bars)
    assert not bars.totals


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("./nowhere", "requests.likelihood_by: model './nowhere': no such folder"),
        ("a.gguf", "requests.likelihood_by: model 'a.gguf': no such file"),
        ("package:nothing/x", "requests.likelihood_by: model 'package:nothing/x': pip install"),
        ("", "requests.likelihood_by: "),
        (3, "requests.likelihood_by: "),
    ],
)
def test_a_wrong_model_is_told_with_file_and_key(
    scenario: Scenario, tmp_path: Path, model: object, words: str
) -> None:
    content = scenario.model_dump(mode="json", exclude_unset=True)
    content["requests"]["likelihood_by"] = model
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(content))
    done = staircase("profile", str(path))
    assert done.returncode == 2
    assert f"{path}: {words}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_nothing_is_run_twice_under_two_names() -> None:
    """``normal`` is the same in every layout, and ends the front in one."""
    found = paper_plan()
    named = found.named()
    again = [
        number
        for number, one in enumerate(found.candidates)
        if one.forecast == named["normal"].forecast and one not in named.values()
    ]
    assert again
    shown = contenders(replace(found, front=(*found.front, *again)), len(found.candidates))
    assert len({repr(one.forecast) for one in shown.values()}) == len(shown)
    assert len(shown) > len(named)
