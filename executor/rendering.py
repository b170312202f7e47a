"""From prompts as segments to token ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from staircase.pipeline import Agent
from staircase.prompt import Prompt, header, label, own, query

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class PromptFormat:
    """Templates of the texts that do not grow.

    ``{role}`` is the agent's role, ``{query}`` its query, ``{source}`` the name of the agent that
    speaks next. An empty template leaves the text out.
    """

    header: str = "{role}\n\n"
    query: str = "{query}\n\n"
    label: str = "\n\n{source}:\n"
    own: str = "\n\nAnswer:\n"


def fixed_texts(agent: Agent, query_text: str, form: PromptFormat) -> dict[str, str]:
    """All texts of ``agent``'s prompt that do not grow, by segment source."""
    texts = {
        header(agent.name): form.header.format(role=agent.role),
        query(agent.name): form.query.format(query=query_text),
        own(agent.name): form.own,
    }
    for source in agent.reads:
        texts[label(agent.name, source)] = form.label.format(source=source)
    return texts


def encode_texts(texts: Mapping[str, str], encode: Encode) -> dict[str, list[int]]:
    return {name: encode(text) for name, text in texts.items()}


def render(prompt: Prompt, ids: Mapping[str, Sequence[int]]) -> list[int]:
    """Token ids of ``prompt``, given those of every segment's source."""
    return [
        token
        for segment in prompt.segments
        for token in ids[segment.source][segment.start : segment.stop]
    ]
