"""What a measured request finds in a server's prefix cache is what it would find in production."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from executor.engine import CallReport, EngineCall, Key
from executor.nonces import LETTERS, Nonces
from executor.openai.engine import OpenAIEngine
from executor.openai.server import Address, Network
from executor.openai.server_profile import SALT, ServerProfile
from executor.openai.vocabularies import ModelTokens
from executor.opened_engines import open_engines
from executor.request_run import fixed_ids_of
from executor.runtime import Job, Outcome, Runtime, ServedModel
from executor.tokens.rendering import PromptFormat
from planner.tuning.run_log import fixed_tokens
from profiles.latency.prefix_cache import PrefixCache
from simulator.des.simulate import simulate
from simulator.profiled import setup_of_profile
from staircase import Schedule, constant, moa, uniform
from staircase.spec.engine_spec import OpenAISpec
from staircase.spec.scenario import Scenario, load_scenario
from staircase.timeline import Timeline
from staircase.workload import Question, RequestShape, Workload
from tests.support.backends import FORM, CharacterTokenizer, fixed_profile, server_settings
from tests.support.command_line import staircase
from tests.support.fake_server import EXTRAS, FakeServer, Manners, Pace
from tests.test_openai_engine import asking, probe, setting

FIELDS = frozenset({"stream_options", "return_token_ids"})
LIMIT = 12
AGENTS = tuple(
    replace(agent, max_tokens=LIMIT, role=f"{agent.name} is who you are")
    for agent in moa([["a", "b"]], "z")
)
PIPELINE = replace(moa([["a", "b"]], "z"), agents=AGENTS)
SCHEDULES = {
    "append": uniform(PIPELINE, constant(4, 4, 4), "append_rounds"),
    "rebuild": uniform(PIPELINE, constant(3, 5, 6), "rebuild"),
    "normal": Schedule(),
}
ORDERS = (tuple(SCHEDULES), tuple(reversed(SCHEDULES)))
QUESTIONS = [Question("why so"), Question("why no")]
Cached = list[tuple[str, int]]


@dataclass(frozen=True)
class Kind:
    """A server, and how requests are kept apart there."""

    block_tokens: int
    is_salted: bool

    @property
    def manners(self) -> Manners:
        # It remembers more than is ever asked.
        pace = Pace(0.0, 0.0, 0.0, self.block_tokens, kept_texts=10_000, keeps_written=True)
        fields = EXTRAS | ({SALT} if self.is_salted else set())
        salts = "strictly" if self.is_salted else "no"
        return Manners(fields=fields, pace=pace, salts=salts)  # type: ignore[arg-type]


KINDS = [Kind(1, False), Kind(4, False), Kind(4, True)]


def cached(line: Timeline) -> Cached:
    return [(span.agent, span.cached_tokens) for span in line.spans]


def measured(kind: Kind, order: Sequence[str], is_kept_apart: bool = True) -> list[Outcome]:
    """A schedule after the other on the same questions; first one is asked that does not count."""
    tokenizer: Any = CharacterTokenizer()
    profile = ServerProfile(
        "completions", FIELDS, takes_ids=True, returns_ids=True, reports_cached=True
    )
    jobs = [Job(PIPELINE, SCHEDULES[name], one) for name in order for one in QUESTIONS]
    with FakeServer(kind.manners) as fake, Network() as network:
        server = network.server(Address(fake.url, None, 10.0, 10.0))
        served = {}
        for name in PIPELINE.engines:
            settings = replace(server_settings(name), is_salted=kind.is_salted and is_kept_apart)
            tokens = ModelTokens("fake", tokenizer)
            engine = OpenAIEngine(network, server, profile, settings, tokens)
            served[name] = ServedModel(engine, FORM, is_kept_apart and not kind.is_salted)
        runtime = Runtime(served)
        runtime.run([Job(PIPELINE, Schedule(), Question("go on!"))])
        return runtime.run(jobs)


def forecast(kind: Kind, name: str, fixed: Mapping[str, int]) -> list[Cached]:
    """Also after one that does not count."""
    cache = PrefixCache(kind.block_tokens, 1, True, 8, shares_headers=not kind.is_salted)
    profile = replace(fixed_profile(), cache=cache)
    spec = OpenAISpec(kind="openai", base_url="http://h/v1", model="m")
    setups = {n: setup_of_profile(profile, spec, n) for n in PIPELINE.engines}
    shape = RequestShape(fixed, {agent.name: LIMIT for agent in PIPELINE})
    lines = simulate(PIPELINE, SCHEDULES[name], setups, Workload([shape] * 3))
    return [cached(line) for line in lines[1:]]


@pytest.mark.parametrize("kind", KINDS)
def test_cached_tokens_are_those_of_the_forecast_in_any_order(kind: Kind) -> None:
    played = {order: measured(kind, order) for order in ORDERS}
    fixed, *others = [fixed_tokens(one) for outcomes in played.values() for one in outcomes]
    assert all(lengths == fixed for lengths in others)
    expected = {name: forecast(kind, name, fixed) for name in SCHEDULES}
    for order, outcomes in played.items():
        found = [cached(outcome.timeline) for outcome in outcomes]
        assert dict(zip(order, [found[:2], found[2:4], found[4:]], strict=True)) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_server_of_these_tests_would_flatter(kind: Kind) -> None:
    """Otherwise they would show nothing."""
    lines = [outcome.timeline for outcome in measured(kind, ["normal", "normal"], False)]
    assert sum(count for _, count in cached(lines[2])) > sum(count for _, count in cached(lines[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_only_salted_headers_are_computed_for_each_request(kind: Kind) -> None:
    first = dict(cached(measured(kind, ["normal"])[1].timeline))
    header = len(FORM.header.format(role=AGENTS[0].role))
    shared = 0 if kind.is_salted else header // kind.block_tokens * kind.block_tokens
    assert first == {agent.name: shared for agent in PIPELINE}


def test_a_nonce_is_in_the_content_of_a_chat_turn() -> None:
    """Right after ``user`` it would be part of the speaker's name."""
    form = PromptFormat("<|user|>", "\n{query}", "", "<|assistant|>")
    engine: Any = SimpleNamespace(encode=list, encode_content=list)
    alone = moa([["a"]], "z")
    served = dict.fromkeys(alone.engines, ServedModel(engine, form, has_nonces=True))
    ids: Any = fixed_ids_of(Job(alone, Schedule(), Question("why")), served, "q f z\n")
    assert "".join(ids["query/a"]) == "\nq f z\nwhy"
    assert "nonce/a" not in ids
    assert "".join(ids["nonce/z"]) == "q f z\n"


def test_nonces_are_alike_in_tokens_and_begin_differently() -> None:
    nonces = Nonces()
    drawn = [nonces.draw() for _ in range(1000)]
    assert len(set(drawn)) == 1000
    assert {len(text.split()) for text in drawn} == {LETTERS}
    assert all(len({text[0] for text in drawn[n : n + 26]}) == 26 for n in range(900))


@pytest.mark.parametrize(
    ("fields", "salts", "pace", "found"),
    [
        (EXTRAS, "no", None, False),
        (EXTRAS | {SALT}, "no", None, False),
        (EXTRAS | {SALT}, "no", Pace(0, 0, 0, 16, 99), False),
        (EXTRAS | {SALT}, "strictly", None, True),
        (EXTRAS | {SALT}, "yes", Pace(0, 0, 0, 16, 99), True),
    ],
)
def test_a_salt_is_used_where_it_was_seen_to_work(
    fields: frozenset[str], salts: Any, pace: Pace | None, found: bool
) -> None:
    profile, _ = probe(Manners(fields=fields, salts=salts, pace=pace))
    assert profile.salts == found


def test_a_server_that_was_probed_before_answers_the_same() -> None:
    """Its cache still has what the first probe asked for."""
    manners = Manners(fields=EXTRAS | {SALT}, salts="yes", pace=Pace(0, 0, 0, 16, 99))
    with setting(manners) as it:
        first, again = (it.network.run(asking(it, 1).find(["completions"])) for _ in range(2))
    assert first.salts
    assert again == first


def scenario(folder: Path, url: str) -> Path:
    engine = {"kind": "openai", "base_url": url, "model": "m", "api": "completions"}
    agents = {
        "a": {"engine": "e", "max_tokens": 4},
        "z": {"engine": "e", "max_tokens": 4, "reads": ["a"]},
    }
    content = {
        "name": "apart",
        "engines": {"e": engine},
        "pipeline": {"agents": agents, "answer": "z"},
        "requests": {"dataset": "questions.jsonl"},
    }
    (folder / "questions.jsonl").write_text('{"query": "why"}\n{"query": "how"}\n')
    (folder / "apart.yaml").write_text(yaml.safe_dump(content))
    return folder / "apart.yaml"


def asked(written: Scenario, fake: FakeServer, is_measured: bool) -> list[dict[str, Any]]:
    """Bodies of two requests, of two calls each."""
    job = Job(written.pipeline.build(), Schedule(), Question("why"))
    with open_engines(written, is_measured) as opened:
        fake.begin()
        opened.runtime.run([job, job])
        opened.remote["e"].submit(EngineCall((9, 9), [0], 1), Quiet())
    return fake.bodies[:4]


class Quiet:
    def on_token(self, key: Key, token: int, time_ns: int) -> None: ...

    def on_end(self, key: Key, report: CallReport) -> None: ...


@pytest.mark.parametrize("is_salted", [True, False])
@pytest.mark.parametrize("is_measured", [True, False])
def test_requests_are_kept_apart_only_where_they_are_measured(
    tmp_path: Path, is_salted: bool, is_measured: bool
) -> None:
    with FakeServer(Kind(1, is_salted).manners) as fake:
        bodies = asked(load_scenario(scenario(tmp_path, fake.url)), fake, is_measured)
    salts = [body.get(SALT) for body in bodies]
    prompts = [body["prompt"] for body in bodies]
    if not (is_measured and is_salted):
        assert salts == [None] * 4
    else:
        assert salts[0] == salts[1] != salts[2] == salts[3]
    is_marked = is_measured and not is_salted
    assert (prompts[0] != prompts[2]) == is_marked
    assert prompts[0].count("\n") == prompts[2].count("\n")


@pytest.mark.parametrize(("is_salted", "words"), [(True, SALT), (False, "nonce")])
def test_engines_says_how(tmp_path: Path, is_salted: bool, words: str) -> None:
    with FakeServer(Kind(1, is_salted).manners) as fake:
        done = staircase("engines", str(scenario(tmp_path, fake.url)), "--json")
    assert json.loads(done.stdout)[0]["kept_apart"] == words
