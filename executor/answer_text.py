"""The answer of an executed request as its reader sees it."""

from __future__ import annotations

from executor.engine import Engine
from executor.runtime import Outcome
from staircase.pipeline import Pipeline
from staircase.prompt import fixed_names, query
from staircase.text_faults import TextFaults, find_faults


def text_faults(pipeline: Pipeline, engine: Engine, outcome: Outcome) -> TextFaults:
    """Of the answer of ``outcome``; ``engine`` wrote it."""
    agent = pipeline[pipeline.answer]
    asked = query(agent.name)
    fixed = [name for name in fixed_names(agent.name, agent.reads) if name in outcome.ids]
    texts = {name: engine.decode(outcome.ids[name]) for name in fixed}
    contents = [texts.pop(asked, ""), *(outcome.texts[source] for source in agent.reads)]
    return find_faults(_steps(agent.name, engine, outcome), texts.values(), contents)


def _steps(agent: str, engine: Engine, outcome: Outcome) -> list[str]:
    """What each call wrote; cut where the text so far can be read as text."""
    ids, ends = outcome.ids[agent], list[int]()
    for span in outcome.timeline.spans:
        if span.agent == agent and span.output_tokens:
            ends.append(span.written + span.output_tokens)
    texts = [engine.decode(ids[:end]) for end in ends]
    starts = [0, *map(len, texts)]
    return [text[start:] for start, text in zip(starts, texts, strict=False)]
