"""The backends in which a schedule can be played, behind one face, for the contract tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from executor.inprocess.batching_engine import BatchingEngine
from executor.inprocess.device import Device
from executor.inprocess.models import LoadedModel
from executor.inprocess.prompt_lookup import PromptLookup
from executor.inprocess.sampling import GREEDY, Sampling
from executor.inprocess.transformers_engine import TransformersEngine
from executor.openai.engine import OpenAIEngine, ServerSettings
from executor.openai.remote import open_remote
from executor.openai.server import Address, Network
from executor.openai.server_faults import Patience
from executor.openai.server_profile import ServerProfile
from executor.openai.vocabularies import ModelTokens, TextPieces, Vocabulary
from executor.opened_engines import without_models
from executor.prompts.input_text import input_text
from executor.runtime import Job, Runtime, ServedModel
from executor.tokens.rendering import PromptFormat
from profiles.latency.profile import EngineProfile, Fit
from simulator.des.endpoint import EndpointSetup
from simulator.des.serial import SerialSetup
from simulator.des.simulate import simulate
from simulator.engine import EngineSetup
from staircase.messages import Call
from staircase.pipeline import Pipeline
from staircase.revisions.acceptance import Acceptance, EvenAcceptance
from staircase.schedule import Schedule
from staircase.spec.engine_spec import OpenAISpec
from staircase.timeline import Timeline, to_ps
from staircase.votes import Ballot
from staircase.workload import Question, RequestShape, Workload
from tests.support.fake_server import FakeServer, Fault, Manners
from tests.support.scripted_engine import ScriptedEngine

VOCABULARY = 97
# One token a character, so that every backend gives the fixed texts the same length.
FORM = PromptFormat(header="h:{role}", query="q:{query}", label="l:{source}", own="a:")
QUESTION = Question("why")

# What is there of an input, and from when on.
Updates = Mapping[str, tuple[tuple[float, str], ...]]
NO_UPDATES: Updates = {}


@dataclass(frozen=True)
class Played:
    """``ids`` are the agents' texts, where the backend has any."""

    timeline: Timeline
    calls: Sequence[Call]
    ids: Mapping[str, Sequence[int]] = field(default_factory=dict)


class Backend(Protocol):
    def play(
        self,
        pipeline: Pipeline,
        schedule: Schedule,
        lengths: Mapping[str, int],
        updates: Updates = NO_UPDATES,
    ) -> Played: ...


def fixed_profile(prefill_s: float = 0.004, token_s: float = 0.001) -> EngineProfile:
    """Every prefill and every decode iteration costs the same."""
    prefill = Fit((prefill_s, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0.0)
    return EngineProfile((), (), 0.0, prefill, Fit((token_s, 0.0, 0.0), 0.0))


ALL_STANDS = EvenAcceptance(1.0)


@dataclass(frozen=True)
class SimulatedBackend:
    """Every engine on a device of its own; ``slow`` ones take ten seconds to begin.

    Attributes:
        items: where items of agents' texts begin; one every seven tokens if it is not said.
        acceptance: what stands of texts that are checked.
    """

    slow: frozenset[str] = frozenset()
    items: Mapping[str, Sequence[int]] = field(default_factory=dict)
    acceptance: Acceptance = ALL_STANDS

    def play(
        self,
        pipeline: Pipeline,
        schedule: Schedule,
        lengths: Mapping[str, int],
        updates: Updates = NO_UPDATES,
    ) -> Played:
        engines = {
            name: SerialSetup(fixed_profile(10.0 if name in self.slow else 0.004), name)
            for name in pipeline.engines
        }
        return _simulate(engines, pipeline, schedule, lengths, updates, self.items, self.acceptance)


@dataclass(frozen=True)
class EndpointBackend:
    """Every engine an endpoint with a cache and noise, at the same pace as the other backends'."""

    slow: frozenset[str] = frozenset()

    def play(
        self,
        pipeline: Pipeline,
        schedule: Schedule,
        lengths: Mapping[str, int],
        updates: Updates = NO_UPDATES,
    ) -> Played:
        usual = EndpointSetup(
            to_ps(0.004),
            to_ps(0.001),
            spread=0.2,
            prefix_caching=True,
            block_tokens=4,
            min_cached_tokens=8,
        )
        engines = {
            name: replace(usual, ttft_ps=to_ps(10.0)) if name in self.slow else usual
            for name in pipeline.engines
        }
        return _simulate(engines, pipeline, schedule, lengths, updates)


def _simulate(
    engines: Mapping[str, EngineSetup],
    pipeline: Pipeline,
    schedule: Schedule,
    lengths: Mapping[str, int],
    updates: Updates,
    items: Mapping[str, Sequence[int]] | None = None,
    acceptance: Acceptance = ALL_STANDS,
) -> Played:
    calls: list[Call] = []
    words = TextPieces("words")
    shapes = {
        name: input_text(words, replace(QUESTION, inputs={name: "-"}, updates=updates), name).shape
        for name in updates
    }
    every = {agent.name: range(3, lengths[agent.name], 7) for agent in pipeline if agent.items}
    # No two texts are alike where lengths differ.
    ballots = {agent.name: Ballot(agent.name) for agent in pipeline}
    request = RequestShape(
        _fixed_tokens(pipeline),
        lengths,
        ballots=ballots,
        items={**every, **(items or {})},
        updates=shapes,
        acceptance=acceptance,
    )
    lines = simulate(pipeline, schedule, engines, Workload([request]), on_call=calls.append)
    return Played(lines[0], calls)


@dataclass(frozen=True)
class ScriptedBackend:
    """Every agent on an engine of its own."""

    slow: frozenset[str] = frozenset()

    def play(
        self,
        pipeline: Pipeline,
        schedule: Schedule,
        lengths: Mapping[str, int],
        updates: Updates = NO_UPDATES,
    ) -> Played:
        agents = tuple(replace(agent, engine=agent.name) for agent in pipeline)
        served = {
            name: ServedModel(ScriptedEngine(length, 10.0 if name in self.slow else 0.004), FORM)
            for name, length in lengths.items()
        }
        return _run(served, replace(pipeline, agents=agents), schedule, updates)


@dataclass(frozen=True)
class TransformersBackend:
    """Random models on one device; an agent's length is its ``max_tokens``."""

    sampling: Sampling = GREEDY
    lookup: PromptLookup | None = None

    def play(
        self,
        pipeline: Pipeline,
        schedule: Schedule,
        lengths: Mapping[str, int],
        updates: Updates = NO_UPDATES,
    ) -> Played:
        model = random_model("llama", seed=1)
        with Device() as device:
            served = {
                name: ServedModel(
                    TransformersEngine(model, device, self.sampling, self.lookup), FORM
                )
                for name in pipeline.engines
            }
            return _run(served, pipeline, schedule, updates)


@dataclass(frozen=True)
class OpenAIBackend:
    """Every engine a model of one fake server; prompts are text, or ids that come back too.

    ``slow`` ones do not begin at all.
    """

    has_ids: bool
    slow: frozenset[str] = frozenset()

    def play(
        self,
        pipeline: Pipeline,
        schedule: Schedule,
        lengths: Mapping[str, int],
        updates: Updates = NO_UPDATES,
    ) -> Played:
        fields = frozenset({"stream_options", "return_token_ids"})
        profile = ServerProfile("completions", fields, takes_ids=self.has_ids, returns_ids=True)
        with FakeServer(Manners(takes_ids=self.has_ids)) as fake, Network() as network:
            fake.begin({(name, 0): Fault("hang") for name in self.slow})
            server = network.server(Address(fake.url, None, 10.0, 10.0))
            served = {
                name: ServedModel(
                    OpenAIEngine(
                        network, server, profile, server_settings(name), self._vocabulary(name)
                    ),
                    FORM,
                )
                for name in pipeline.engines
            }
            return _run(served, pipeline, schedule, updates)

    def _vocabulary(self, name: str) -> Vocabulary:
        tokenizer: Any = CharacterTokenizer()
        return ModelTokens("fake", tokenizer) if self.has_ids else TextPieces(name, list)


@dataclass(frozen=True)
class ServedBackend:
    """One model of a real server for all agents; an agent's length is its ``max_tokens``."""

    engine: OpenAIEngine

    @classmethod
    def open(cls, stack: ExitStack, url: str, model: Path) -> ServedBackend:
        return cls(open_engine(stack, url, model))

    def play(
        self,
        pipeline: Pipeline,
        schedule: Schedule,
        lengths: Mapping[str, int],
        updates: Updates = NO_UPDATES,
    ) -> Played:
        served = dict.fromkeys(pipeline.engines, ServedModel(self.engine, FORM))
        return _run(served, pipeline, schedule, updates)


def open_engine(stack: ExitStack, url: str, model: Path, **options: object) -> OpenAIEngine:
    """An engine as a scenario with these ``options`` would open it: after a probe."""
    spec = OpenAISpec(kind="openai", base_url=url, model=str(model), tokenizer=str(model))
    return open_remote(stack, {"served": spec.model_copy(update=options)}, False)["served"]


def server_settings(model: str, max_concurrency: int = 64, tries: int = 3) -> ServerSettings:
    """Waits between tries are short."""
    return ServerSettings(model, {"temperature": 0.0}, Patience(tries, 1.0, 0.01), max_concurrency)


@dataclass(frozen=True)
class BatchingBackend:
    """One engine with four slots for all agents; small pieces, so that prompts take several."""

    sampling: Sampling = GREEDY
    lookup: PromptLookup | None = None

    def play(
        self,
        pipeline: Pipeline,
        schedule: Schedule,
        lengths: Mapping[str, int],
        updates: Updates = NO_UPDATES,
    ) -> Played:
        with Device() as device:
            model = random_model("qwen3", seed=1)
            engine = BatchingEngine(
                model, device, 4, 16, sampling=self.sampling, lookup=self.lookup
            )
            served = dict.fromkeys(pipeline.engines, ServedModel(engine, FORM))
            played = _run(served, pipeline, schedule, updates)
        assert engine.is_idle
        return played


def _run(
    served: Mapping[str, ServedModel], pipeline: Pipeline, schedule: Schedule, updates: Updates
) -> Played:
    inputs = {one.name: " ".join(["word"] * one.max_tokens) for one in pipeline.inputs}
    inputs |= {name: every[-1][1] for name, every in updates.items()}
    coming = without_models(pipeline, served)
    question = replace(QUESTION, inputs=inputs, updates=updates)
    outcome = Runtime({**served, **coming}).run([Job(pipeline, schedule, question)])[0]
    ids = {agent.name: outcome.ids[agent.name] for agent in pipeline}
    return Played(outcome.timeline, outcome.calls, ids)


def _fixed_tokens(pipeline: Pipeline) -> dict[str, int]:
    from executor.tokens.rendering import fixed_texts

    return {
        name: len(text)
        for agent in pipeline
        if agent.has_engine
        for name, text in fixed_texts(agent, QUESTION.query, FORM).items()
    }


class CharacterTokenizer:
    """One token a character."""

    all_special_ids: Sequence[int] = ()

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [ord(character) % VOCABULARY for character in text]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return "".join(chr(token) for token in ids)


# With weights so large that no two logits are close.
TINY: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
}

# Models are drawn one after the other, as the seed is everybody's.
DRAWING = Lock()


def random_model(kind: str, seed: int) -> LoadedModel:
    """A tiny model with weights so large that no two logits are close."""
    # Several threads that wait for each other beside other work are many times slower.
    torch.set_num_threads(1)
    shape = {**TINY, "max_position_embeddings": 2048}
    network: Any
    with DRAWING:
        torch.manual_seed(seed)
        if kind == "llama":
            network = LlamaForCausalLM(LlamaConfig(**shape))
        else:
            network = Qwen3ForCausalLM(Qwen3Config(**shape))
    tokenizer: Any = CharacterTokenizer()
    return LoadedModel(network.eval(), tokenizer, torch.device("cpu"), kind, frozenset())


@contextmanager
def engine_of(model: LoadedModel) -> Iterator[TransformersEngine]:
    with Device() as device:
        yield TransformersEngine(model, device)
