"""The answer of an executed request as its reader sees it."""

from __future__ import annotations

from collections.abc import Mapping

from executor.engine import Tokens
from executor.runtime import Outcome, ServedModel
from executor.tokens.rendering import fixed_texts
from staircase.metrics.text_faults import TextFaults, find_faults
from staircase.pipeline import Pipeline
from staircase.prompt import nonce
from staircase.workload import Question


def text_faults(
    pipeline: Pipeline, served: Mapping[str, ServedModel], question: Question, outcome: Outcome
) -> TextFaults:
    """Of the answer of ``outcome``; ``served`` by engine name."""
    agent = pipeline[pipeline.answer]
    writer = served[agent.engine]
    # Not decoded from ids, as special tokens decode to nothing.
    prompt_texts = fixed_texts(agent, "", writer.form)
    prompt_texts[nonce(agent.name)] = writer.engine.decode(outcome.ids.get(nonce(agent.name), []))
    contents = [question.query_for(agent.name), *(outcome.texts[name] for name in agent.reads)]
    steps = _steps(agent.name, writer.engine, outcome)
    return find_faults(steps, prompt_texts.values(), contents)


def _steps(agent: str, engine: Tokens, outcome: Outcome) -> list[str]:
    """What each call wrote; cut where the text so far can be read as text."""
    ids, ends = outcome.ids[agent], list[int]()
    for span in outcome.timeline.spans:
        if span.agent == agent and span.standing_tokens:
            ends.append(span.written + span.standing_tokens)
    texts = [engine.decode(ids[:end]) for end in ends]
    starts = [0, *map(len, texts)]
    return [text[start:] for start, text in zip(starts, texts, strict=False)]
