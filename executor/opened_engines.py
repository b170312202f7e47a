"""A scenario's engines, opened: models loaded once, devices running, prompts formatted."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path

from executor.cores.core_assignment import start_processes
from executor.cores.core_process import CoreEngine
from executor.embedded import samples
from executor.embedded.tasks import TASKS
from executor.engine import Engine
from executor.inprocess.models import LoadedModel
from executor.inprocess.opening import load_models, open_local
from executor.input_engine import NO_PROMPT, InputEngine, LiveInput
from executor.openai.engine import OpenAIEngine
from executor.openai.remote import open_remote
from executor.prompts.prompt_formats import form_of, form_of_server
from executor.prompts.thoughts import tags_of, thought_by_chat, thought_of
from executor.runtime import Runtime, ServedModel
from executor.scorer import Scorer
from executor.scoring.likelihood import OtherReader
from executor.scoring.piece_scorer import PieceScorer
from executor.scoring.prompt_scorer import PromptScorer
from executor.scoring.scoring import ModelScorer
from executor.scoring.spare_models import SpareModel, spare_models
from executor.thinking_engine import ThinkingEngine
from executor.tokens.rendering import Form
from staircase.errors import ScenarioError
from staircase.files import named_path
from staircase.pipeline import Agent, Arrival, Pipeline
from staircase.question_sets import read_questions
from staircase.spec.engine_spec import EngineSpec
from staircase.spec.scenario import LIKELIHOOD_BY, Scenario, scored_by
from staircase.workload import Question


@dataclass(frozen=True)
class OpenedEngines:
    """What a scenario needs to run for real.

    Attributes:
        models: by engine name, of those on this machine; engines that name the same model share it.
        engines: by engine name, those on this machine.
        remote: by engine name, those behind servers.
        scorers: by engine name, of those that can say how probable a text is.
        remarks: what is odd about how prompts are written, in words.
        spare: models that only score, by the key that names them.
    """

    models: Mapping[str, LoadedModel]
    engines: Mapping[str, Engine]
    remote: Mapping[str, OpenAIEngine]
    scorers: Mapping[str, Scorer]
    runtime: Runtime
    remarks: Sequence[str] = ()
    spare: Mapping[str, SpareModel] = field(default_factory=dict)

    def load_scorers(self, pipeline: Pipeline) -> None:
        """Those of ``pipeline`` on this machine: now, not when they are first asked.

        Raises:
            ModelError: one cannot be loaded.
        """
        for key in (scored_by(agent.engine) for agent in _judged(pipeline)):
            if key in self.spare:
                self.spare[key].load()

    def with_inputs_at_once(self) -> OpenedEngines:
        """The same where inputs do not keep anybody waiting: for what no clock counts in."""
        served = {
            name: replace(one, engine=one.engine.at_once())
            if isinstance(one.engine, InputEngine)
            else one
            for name, one in self.runtime.served.items()
        }
        return replace(self, runtime=self.runtime.serving(served))

    def with_live_input(self, name: str, source: LiveInput) -> OpenedEngines:
        """The same where input ``name`` comes from ``source``; for one request."""
        served = {**self.runtime.served, name: ServedModel(source, NO_PROMPT)}
        return replace(self, runtime=self.runtime.serving(served))

    @cached_property
    def other_reader(self) -> OtherReader | None:
        """The model that is asked how likely answers are, if the scenario names one."""
        spare = self.spare.get(LIKELIHOOD_BY)
        return OtherReader(spare.name, spare.load) if spare else None

    def why_no_scores(self, pipeline: Pipeline) -> str | None:
        """Why not every agent whose text is judged has a model that can be asked, in words."""
        for agent in pipeline.votes:
            return f"whose text {agent.name} takes depends on ballots, which no score knows"
        for agent in pipeline:
            if agent.fork:
                return (
                    f"{agent.name} is started by an item of what {agent.fork.source} writes, which "
                    "a score does not know"
                )
            if agent.peers:
                return (
                    f"what {agent.name} has read of its peers depends on when it wrote, which no "
                    "score knows"
                )
        for agent in _judged(pipeline):
            thought = self.runtime.served[agent.engine].thoughts.get(agent.name)
            if thought and thought.budget:
                return (
                    f"{agent.name} thinks before it writes, and what it writes depends on its "
                    "thought, which is not scored (thinking: {enabled: false} is)"
                )
        mute = [agent.engine for agent in _judged(pipeline) if agent.engine not in self.scorers]
        if not mute:
            return None
        return (
            f"the server of {', '.join(dict.fromkeys(mute))} does not tell log-probabilities "
            "of prompts given as token ids (vLLM's prompt_logprobs, or echo with logprobs), "
            "or the scenario names no tokenizer for it; scored_by names a model on this machine "
            "that does"
        )

    def can_score(self, pipeline: Pipeline) -> bool:
        return self.why_no_scores(pipeline) is None

    def scorers_of(self, pipeline: Pipeline) -> dict[str, PromptScorer]:
        """By name, of the agents whose text is judged."""
        engines = {agent.name: self.runtime.served[agent.engine].engine for agent in pipeline}
        return {
            agent.name: PromptScorer(self.scorers[agent.engine], engines)
            for agent in _judged(pipeline)
        }


def _judged(pipeline: Pipeline) -> list[Agent]:
    """Those whose text depends on what they read, and the one that answers."""
    return [agent for agent in pipeline if agent.reads or agent.name == pipeline.answer]


@contextmanager
def open_engines(scenario: Scenario, is_measured: bool = False) -> Iterator[OpenedEngines]:
    """Loads the scenario's models, starts its devices, asks its servers; closes them at the end.

    Where ``is_measured``, no request finds the query or drafts of another in a server's cache.

    Raises:
        ModelError: a model cannot be loaded.
        EngineError: a server cannot be used.
    """
    for name in scenario.simulated:
        raise ScenarioError(f"engine {name!r} is simulated: there is nothing to run")
    spare = spare_models(scenario)
    with ExitStack() as stack:
        remote = open_remote(stack, scenario.remote, is_measured)
        models, engines = _open_local(stack, scenario.real)
        every: dict[str, Engine] = {**remote, **engines}
        formats = _formats(scenario, models, remote)
        marked = {name for name, one in remote.items() if is_measured and not one.is_salted}
        served = {
            name: _served(scenario, every[name], form, name, name in marked, models.get(name))
            for name, (form, _) in formats.items()
        }
        served |= without_models(scenario.pipeline.build(), served)
        remarks = [f"engine {name!r}: {words}" for name, (_, words) in formats.items() if words]
        scorers: dict[str, Scorer] = {name: ModelScorer(model) for name, model in models.items()}
        scorers |= {name: one.scorer for name, one in remote.items() if one.scorer}
        for name, one in remote.items():
            if scored_by(name) in spare:
                scorers[name] = PieceScorer(spare[scored_by(name)].load, one)
        yield OpenedEngines(
            models,
            engines,
            remote,
            scorers,
            Runtime(served, retries=scenario.requests.retries),
            remarks,
            spare,
        )


def _open_local(
    stack: ExitStack, specs: Mapping[str, EngineSpec]
) -> tuple[dict[str, LoadedModel], dict[str, Engine]]:
    """Models and engines by name. Processes start first: they load their models beside us."""
    processes = start_processes(stack, specs)
    models = load_models(specs)
    here = {name: spec for name, spec in specs.items() if spec.core is None}
    engines = open_local(stack, here, models)
    for process in processes.values():
        process.open()
    for name, spec in specs.items():
        if spec.core is not None:
            engines[name] = CoreEngine(name, models[name], processes[spec.core])
    return models, engines


def _formats(
    scenario: Scenario, models: Mapping[str, LoadedModel], remote: Mapping[str, OpenAIEngine]
) -> dict[str, tuple[Form, str | None]]:
    """By engine name, those behind servers first; and what is odd about them."""
    tags = {name: tags_of(_agents(scenario, name)) for name in scenario.engines}
    behind = {
        name: form_of_server(spec, remote[name], tags[name])
        for name, spec in scenario.remote.items()
    }
    here = {
        name: form_of(spec, models[name].tokenizer, tags[name])
        for name, spec in scenario.real.items()
    }
    return {**behind, **here}


def _agents(scenario: Scenario, engine: str) -> list[Agent]:
    return [agent for agent in scenario.pipeline.build() if agent.engine == engine]


def _served(
    scenario: Scenario,
    engine: Engine,
    form: Form,
    name: str,
    has_nonces: bool,
    model: LoadedModel | None,
) -> ServedModel:
    """With the thoughts of its agents, if there are any, and what a request may wish of it."""
    thoughts = {}
    for agent in _agents(scenario, name):
        if isinstance(engine, OpenAIEngine) and engine.applies_template:
            thoughts[agent.name] = thought_by_chat(agent, engine)
            continue
        known = engine.tokenizer if isinstance(engine, OpenAIEngine) else None
        thought = thought_of(agent, form, model.tokenizer if model else known)
        if thought:
            thoughts[agent.name] = thought
    thinking = ThinkingEngine(engine) if thoughts else engine
    spec = {**scenario.remote, **scenario.real}[name]
    own = {"temperature": spec.temperature, "top_p": spec.top_p, "top_k": spec.top_k or 0}
    in_process = frozenset({"ignore_end", "seed"})
    settable = engine.settable if isinstance(engine, OpenAIEngine) else in_process
    can_check = model is not None and not model.other_layers
    if isinstance(engine, OpenAIEngine):
        can_check = engine.checks_texts
    return ServedModel(thinking, form, has_nonces, thoughts, own, settable, can_check)


def without_models(pipeline: Pipeline, served: Mapping[str, ServedModel]) -> dict[str, ServedModel]:
    """By name, what brings inputs, and the texts that were voted for.

    These have the tokens of the first on whom is voted, so that this text stays as it is.
    """
    found = {
        one.name: ServedModel(InputEngine(one.arrival), NO_PROMPT)
        for one in pipeline.inputs
        if one.arrival
    }
    for vote in pipeline.votes:
        first = pipeline[vote.reads[0]].engine
        tokens = {**served, **found}[first].engine
        found[vote.name] = ServedModel(InputEngine(Arrival(), tokens), NO_PROMPT)
    return found


def read_dataset(scenario: Scenario, folder: Path, count: int, offset: int) -> list[Question]:
    """``count`` questions; other ``offset``s give other ones, so that fits are judged on new ones.

    A file with too few questions starts again from its beginning.

    Raises:
        WorkloadError: the file is wrong, or a question says nothing of an input.
    """
    if scenario.requests.dataset in TASKS:
        return [
            _bulletin_question(scenario, seed)
            for seed in range(
                scenario.requests.seed + offset, scenario.requests.seed + offset + count
            )
        ]
    questions = read_questions(named_path(scenario.requests.dataset, folder))
    pipeline = scenario.pipeline.build()
    for question, one in product(questions, pipeline.inputs):
        question.input(one.name)
    return [questions[(offset + number) % len(questions)] for number in range(count)]


def _bulletin_question(scenario: Scenario, seed: int) -> Question:
    """Every agent that reads nobody is a correspondent, each with a style of its own."""
    task, pipeline = TASKS[scenario.requests.dataset], scenario.pipeline.build()
    names = [agent.name for agent in pipeline if not agent.reads]
    styles = [(1 + number) % len(task.styles) for number in range(len(names))]
    bulletin = task.draw_bulletin(random.Random(f"bulletin {seed}"), names, styles)
    return Question(samples.EDITOR_QUERY, bulletin.inputs(), task.bulletin_text(bulletin.record))
