"""How likely answers are under a model that wrote none of them.

    log-likelihood  mean over the answer's tokens y_1 … y_T of ln p(y_t | prompt, y_<t), in nats

The tokens are those of the model that is asked. Its prompt is one of its own, as if it had read all
before it wrote: the question, and whole drafts of all agents that read nobody. That an answer ends
where it does is not asked for, as many are cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from executor.inprocess.models import LoadedModel
from executor.prompts.prompt_formats import form_of
from executor.runtime import Outcome
from executor.scorer import ForcedText
from executor.scoring.scoring import ModelScorer
from executor.tokens.chat_template import ChatFormat
from executor.tokens.rendering import Form, fixed_ids, render
from staircase.pipeline import Agent, Pipeline, Thinking
from staircase.prompt import Round, build_prompt
from staircase.spec.engine_spec import EngineSpec
from staircase.workload import Question


@dataclass(frozen=True)
class OtherReader:
    """A model on this machine that is asked about answers of others.

    Attributes:
        name: as the scenario calls it.
        load: gives it; raises ModelError.
    """

    name: str
    load: Callable[[], LoadedModel]

    def text(self, pipeline: Pipeline, question: Question, whole: Outcome) -> ForcedText:
        """The prompt, and the answer, whose tokens are asked for.

        Args:
            whole: an outcome with whole drafts (``executor.measure.whole_drafts``).
        """
        agent, model = _as_reader(pipeline), self.load()
        ids = fixed_ids(agent, question.query_for(agent.name), self._form, model)
        fixed = {name: len(some) for name, some in ids.items()}
        for name in (*agent.reads, agent.name):
            ids[name] = model.encode_content(whole.texts[name].strip())
        everything = Round(tuple(len(ids[name]) for name in agent.reads), 0)
        prompt = build_prompt(
            agent.name, agent.reads, [everything], 0, "rebuild_query_first", fixed
        )
        before = render(prompt, ids) + self._after(agent)
        return ForcedText(
            [*before, *ids[agent.name]],
            range(len(before), len(before) + len(ids[agent.name])),
        )

    def why_not(self, text: ForcedText) -> str | None:
        """Why the answer in ``text`` has no likelihood, in words."""
        if not text.positions:
            return "they are empty"
        if self._most_tokens is not None and len(text.ids) > self._most_tokens:
            return f"with their prompts they are longer than the model's {self._most_tokens} tokens"
        return None

    def log_likelihoods(self, texts: Sequence[ForcedText]) -> Iterator[float]:
        """One for each text, in order; texts that begin alike are best neighbours."""
        for found in ModelScorer(self.load()).score(texts):
            yield float(found.drawn_log_probabilities.mean())

    @cached_property
    def _form(self) -> Form:
        return form_of(EngineSpec(model=self.name), self.load().tokenizer)[0]

    @cached_property
    def _most_tokens(self) -> int | None:
        config = self.load().network.config.get_text_config()
        return getattr(config, "max_position_embeddings", None)

    def _after(self, agent: Agent) -> list[int]:
        """What stands before an answer where the template has begun a thought."""
        form = self._form
        if isinstance(form, ChatFormat) and form.turns_of(agent).lead:
            return self.load().encode(form.empty_thought(agent))
        return []


def _as_reader(pipeline: Pipeline) -> Agent:
    """The answering agent, as if it read all drafts at once and thought nothing."""
    agent = pipeline[pipeline.answer]
    writers = tuple(one.name for one in pipeline if not one.reads and one.name != agent.name)
    return replace(agent, reads=writers, thinking=Thinking(enabled=False))
