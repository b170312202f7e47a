"""Scoring by servers: the same figures as in process, as far as top-k log-probabilities tell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from executor.engine import Engine
from executor.inprocess.device import Device
from executor.inprocess.models import LoadedModel, load_model
from executor.inprocess.transformers_engine import TransformersEngine
from executor.line_log import LineLog
from executor.measure.measure_quality import measure_quality
from executor.measure.measure_surfaces import measure_sample
from executor.measure.quality_log import QualityLog
from executor.openai.probe import Probe
from executor.openai.server import Address, Network
from executor.openai.server_faults import Patience, ServerError
from executor.openai.server_profile import PromptScores
from executor.openai.server_scoring import ServerScorer, TopDistribution, read_scores
from executor.opened_engines import open_engines
from executor.runtime import Job, Outcome, Runtime, ServedModel
from executor.scorer import ForcedText, Scorer, TokenFigures
from executor.scoring.prompt_scorer import PromptScorer
from executor.scoring.scoring import ModelScorer, log_probabilities
from planner.profiling.quality_profiling import make_quality, quality_key
from staircase import Question, Schedule, constant, moa, uniform
from staircase.errors import ScenarioError
from staircase.pipeline import Pipeline
from staircase.spec.scenario import Scenario
from tests.support.backends import FORM
from tests.support.fake_server import EXTRAS, FakeServer, Manners
from tests.support.letter_model import LETTERS, save_letter_model

PATIENCE = Patience(1, 1.0)
FIELDS = {"prompt_logprobs": {"prompt_logprobs"}, "echo": {"echo", "logprobs"}}
WHOLE = len(LETTERS)


def quality_log(path: Path, key: str) -> QualityLog:
    return QualityLog.of(LineLog(path, QualityLog.keys(key)), key)


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("letters")
    save_letter_model(folder)
    return folder


@pytest.fixture(scope="module")
def model(letters: Path) -> LoadedModel:
    return load_model(str(letters), "cpu", "float32")


def manners(model: LoadedModel, form: str, most_tops: int = WHOLE) -> Manners:
    def scores(ids: list[int]) -> Sequence[Sequence[float]]:
        rows: list[list[float]] = log_probabilities(model, ids, range(1, len(ids))).tolist()
        return [list(row) for row in rows]

    fields = EXTRAS | FIELDS[form]
    return Manners(fields=fields, scores=scores, most_tops=most_tops, token_s=0)


@contextmanager
def asked(fake: Manners, scores: PromptScores) -> Iterator[ServerScorer]:
    with FakeServer(fake) as server, Network() as network:
        connection = network.server(Address(server.url, None, 10, 10))
        yield ServerScorer(network, connection, "m", scores, PATIENCE, 4)


def compared(scorer: Scorer) -> TokenFigures:
    """The same letters after two beginnings."""
    full, less = list(range(40)), [*range(20, 40), 7, 8, *range(30, 40)]
    positions = range(30, 40), range(22, 32)
    texts = [ForcedText(full, positions[0]), ForcedText(less, positions[1])]
    one, other = scorer.score(texts)
    return one.against(other)


@pytest.mark.parametrize("form", ["prompt_logprobs", "echo"])
def test_all_tokens_tell_what_the_model_itself_does(model: LoadedModel, form: Any) -> None:
    here = compared(ModelScorer(model))
    assert here.loss.mean() > 0.1
    with asked(manners(model, form), PromptScores(form, WHOLE)) as scorer:
        there = compared(scorer)
    assert there.loss == pytest.approx(here.loss, abs=1e-4)
    assert there.nll_gap == pytest.approx(here.nll_gap, abs=1e-4)
    assert there.agreement.tolist() == here.agreement.tolist()


@pytest.mark.parametrize("form", ["prompt_logprobs", "echo"])
def test_few_tokens_tell_less_of_the_loss_and_all_else(model: LoadedModel, form: Any) -> None:
    here = compared(ModelScorer(model))
    with asked(manners(model, form), PromptScores(form, 20)) as scorer:
        there = compared(scorer)
    assert (there.loss <= here.loss + 1e-6).all()
    assert there.loss.mean() < 0.999 * here.loss.mean()
    assert there.nll_gap == pytest.approx(here.nll_gap, abs=1e-4)
    assert there.agreement.tolist() == here.agreement.tolist()


def top(weights: list[float], count: int) -> TopDistribution:
    logs = np.log(np.array(weights) / sum(weights))
    best = np.argsort(-logs, kind="stable")[:count]
    return TopDistribution({str(n): float(logs[n]) for n in [*best, 0]}, "0")


@given(st.lists(st.tuples(*[st.floats(0.001, 1)] * 2), min_size=2, max_size=12), st.data())
def test_what_is_not_told_never_adds_loss(
    weights: list[tuple[float, float]], data: st.DataObject
) -> None:
    ours, theirs = [one for one, _ in weights], [other for _, other in weights]
    p, q = np.array(ours) / sum(ours), np.array(theirs) / sum(theirs)
    few = data.draw(st.integers(1, len(weights)))
    more = data.draw(st.integers(few, len(weights)))
    losses = [top(ours, k).divergence(top(theirs, k)) for k in (few, more, len(weights))]
    assert 0 <= losses[0] <= losses[1] + 1e-6
    assert losses[1] <= losses[2] + 1e-6
    assert losses[2] == pytest.approx(float((p * np.log(p / q)).sum()), abs=1e-6)


def test_distributions_with_nothing_in_common_differ() -> None:
    # Four tokens of 0.24 each and the drawn one, against four others.
    ours = [0.04, *[0.24] * 4, *[1e-9] * 4]
    theirs = [0.04, *[1e-9] * 4, *[0.24] * 4]
    # Of the second's tokens none that is not told has more than 0.24: nothing is known. With the
    # fifth told, of at most 1e-9, nearly everything is.
    assert top(ours, 4).divergence(top(theirs, 4)) < 0.1
    assert top(ours, 6).divergence(top(theirs, 6)) == pytest.approx(
        0.96 * math.log(0.24 / 1e-9), rel=0.05
    )


class TestProbe:
    def find(self, manners: Manners) -> PromptScores | None:
        with FakeServer(manners) as fake, Network() as network:
            server = network.server(Address(fake.url, None, 10, 10))
            asking = Probe(server, "m", {}, PATIENCE)
            return network.run(asking.find(["completions"])).scores

    @pytest.mark.parametrize("form", ["prompt_logprobs", "echo"])
    @pytest.mark.parametrize("most", [20, 5])
    def test_finds_the_form_and_how_many(self, model: LoadedModel, form: Any, most: int) -> None:
        assert self.find(manners(model, form, most)) == PromptScores(form, most)

    def test_a_strict_server_without(self) -> None:
        assert self.find(Manners()) is None

    def test_a_server_that_reads_over_the_fields(self) -> None:
        assert self.find(Manners(fields=EXTRAS | FIELDS["echo"])) is None


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"choices": []},
        {"choices": [{"prompt_logprobs": [None]}]},
        {"choices": [{"prompt_logprobs": [None, {"8": {"logprob": -1.0}}]}]},
        {"choices": [{"prompt_logprobs": [None, {"9": {"logprob": 0.5}}]}]},
        {"choices": [{"prompt_logprobs": [None, {"9": {"logprob": math.nan}}]}]},
        {"choices": [{"prompt_logprobs": [None, {"9": {}}]}]},
        {"choices": [{"prompt_logprobs": None}]},
    ],
)
def test_rubbish_is_told(answer: Any) -> None:
    with pytest.raises(ServerError, match="not the log-probabilities of a prompt"):
        read_scores(answer, [3, 9], PromptScores("prompt_logprobs", 1))


def played(model: LoadedModel) -> tuple[Pipeline, Engine, Outcome, Outcome]:
    """A pipeline's requests in full and along a staircase; also the engine."""
    every = moa([["p", "q"]], answer="z")
    pipeline = Pipeline(tuple(replace(agent, max_tokens=12) for agent in every), every.answer)
    with Device() as device:
        engine = TransformersEngine(model, device)
        runtime = Runtime(dict.fromkeys(pipeline.engines, ServedModel(engine, FORM)))
        schedules = Schedule(), uniform(pipeline, constant(4, 4, 4), "append_rounds")
        jobs = [Job(pipeline, schedule, Question("why?")) for schedule in schedules]
        full, less = runtime.run(jobs)
    return pipeline, engine, full, less


def test_a_profile_by_a_server_is_the_in_process_one(model: LoadedModel) -> None:
    pipeline, engine, full, less = played(model)

    def measured(scorer: Scorer) -> tuple[Any, Any]:
        asked = PromptScorer(scorer, dict.fromkeys("pqz", engine))
        found = measure_sample(pipeline, {"z": asked}, full, None, [0, 8], 4)
        return found.surfaces["z"], measure_quality(
            pipeline, {"z": asked}, less, full, "append_rounds"
        )

    surfaces, executed = measured(ModelScorer(model))
    with asked(manners(model, "prompt_logprobs"), PromptScores("prompt_logprobs", WHOLE)) as scorer:
        there, executed_there = measured(scorer)
    assert executed.loss > 0
    assert vars(executed_there) == pytest.approx(vars(executed), abs=1e-3)
    for layout, surface in surfaces.items():
        assert there[layout].agreement == surface.agreement
        assert np.array(there[layout].loss) == pytest.approx(np.array(surface.loss), abs=1e-3)


class TestRemoteScenario:
    """Every engine behind one server that writes numbers and says how probable they are."""

    def scenario(self, letters: Path, url: str) -> Scenario:
        engine = {"kind": "openai", "base_url": url, "model": "m", "tokenizer": str(letters)}
        agents = {name: {"max_tokens": 12, "engine": "e"} for name in ("p", "q", "z")}
        content = {
            "name": "remote",
            "pipeline": {"moa": {"layers": [["p", "q"]], "answer": "z"}, "agents": agents},
            "engines": {"e": engine},
            "requests": {"dataset": "questions.jsonl"},
            "profile": {"requests": 2, "read_levels": [0, 4]},
        }
        return Scenario.model_validate(yaml.safe_load(yaml.safe_dump(content)))

    def scores(self, ids: list[int]) -> list[list[float]]:
        """Some distribution over two thousand tokens, another for every text before."""
        rows = []
        for place in range(1, len(ids)):
            rng = np.random.default_rng([place, *ids[:place]])
            weights = rng.gamma(0.005, size=2000) + 1e-9
            rows.append(np.log(weights / weights.sum()).tolist())
        return rows

    def test_quality_is_measured_where_the_server_can_score(
        self, letters: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "questions.jsonl").write_text('{"query": "why?"}\n{"query": "how?"}\n')
        fake = Manners(fields=EXTRAS | FIELDS["prompt_logprobs"], scores=self.scores, token_s=0)
        with FakeServer(fake) as server:
            scenario = self.scenario(letters, server.url)
            log = quality_log(tmp_path / "log.jsonl", quality_key(scenario))
            with open_engines(scenario) as opened:
                found = make_quality(scenario, tmp_path, opened, log)
        surface = found.samples[0].surfaces["z"]["append_rounds"]
        assert surface.loss[0][0] > 0.5, "unlike distributions"
        assert surface.loss[-1][0] == 0
        assert [text.request for text in found.held if text.share == 0.5] == [0, 1]

    def test_a_server_that_cannot_is_told(self, letters: Path, tmp_path: Path) -> None:
        with FakeServer() as server:
            scenario = self.scenario(letters, server.url)
            log = quality_log(tmp_path / "log.jsonl", quality_key(scenario))
            with (
                open_engines(scenario) as opened,
                pytest.raises(ScenarioError, match="server of e does not tell log-prob"),
            ):
                make_quality(scenario, tmp_path, opened, log)
