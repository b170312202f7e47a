"""From prompts as segments to token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from string import Formatter
from typing import NamedTuple, Protocol

from staircase.pipeline import Agent
from staircase.prompt import Prompt, header, label, own, query, turn

Encode = Callable[[str], list[int]]


class Codec(Protocol):
    """What makes token ids of texts."""

    def encode(self, text: str) -> list[int]: ...

    def encode_content(self, text: str) -> list[int]:
        """As ``encode``, but nothing in ``text`` is a special token, whatever it spells."""
        ...


@dataclass(frozen=True)
class PromptFormat:
    """Templates of the texts that do not grow.

    ``{role}`` is the agent's role, ``{query}`` its query, ``{source}`` the name of the agent that
    speaks next; ``{asked0}`` and ``{answered0}`` are the first of a conversation's earlier turns.
    An empty template leaves the text out.

    Attributes:
        turn: stands in the layout ``interleave`` between own text and more of the sources.
        trims: role and query lose the space around them.
    """

    header: str = "{role}\n\n"
    query: str = "{query}\n\n"
    label: str = "\n\n{source}:\n"
    own: str = "\n\nAnswer:\n"
    turn: str = ""
    trims: bool = False

    def of(self, agent: Agent, earlier: int = 0) -> PromptFormat:
        """The same for every agent; earlier turns stand before the query."""
        turns = (f"Question: {asked}\nAnswer: {answered}\n\n" for asked, answered in slots(earlier))
        return replace(self, query="".join(turns) + self.query) if earlier else self

    def begun(self, beginning: str) -> PromptFormat:
        """With ``beginning`` before everything, if it is not there."""
        text = escaped(beginning)
        return self if self.header.startswith(text) else replace(self, header=text + self.header)


class Form(Protocol):
    """Which templates an agent's prompts have."""

    def of(self, agent: Agent, earlier: int = 0) -> PromptFormat:
        """Where the query follows so many ``earlier`` turns of a conversation."""
        ...


class Part(NamedTuple):
    """A piece of a fixed text; ``is_content`` if it is none of the template's."""

    text: str
    is_content: bool = False


def slots(earlier: int) -> Iterator[tuple[str, str]]:
    """Where the turns of a conversation before the query stand in templates."""
    return ((f"{{asked{number}}}", f"{{answered{number}}}") for number in range(earlier))


def fixed_texts(agent: Agent, query_text: str, form: Form) -> dict[str, str]:
    """All texts of ``agent``'s prompt that do not grow, by segment source."""
    parts = _fixed_parts(agent, query_text, form.of(agent))
    return {name: _joined(some) for name, some in parts.items()}


def fixed_ids(
    agent: Agent,
    query_text: str,
    form: Form,
    codec: Codec,
    earlier: Sequence[tuple[str, str]] = (),
) -> dict[str, list[int]]:
    """``fixed_texts`` as token ids; role, query and names cannot spell special tokens.

    Args:
        earlier: turns before the query, which cannot either.
    """
    parts = _fixed_parts(agent, query_text, form.of(agent, len(earlier)), earlier)
    return {name: _encoded(some, codec) for name, some in parts.items()}


def encode_texts(texts: Mapping[str, str], encode: Encode) -> dict[str, list[int]]:
    return {name: encode(text) for name, text in texts.items()}


def render(prompt: Prompt, ids: Mapping[str, Sequence[int]]) -> list[int]:
    """Token ids of ``prompt``, given those of every segment's source."""
    return [
        token
        for segment in prompt.segments
        for token in ids[segment.source][segment.start : segment.stop]
    ]


def _fixed_parts(
    agent: Agent,
    query_text: str,
    form: PromptFormat,
    earlier: Sequence[tuple[str, str]] = (),
) -> dict[str, list[Part]]:
    values = {"role": agent.role, "query": query_text}
    for number, (asked, answered) in enumerate(earlier):
        values |= {f"asked{number}": asked, f"answered{number}": answered}
    if form.trims:
        values = {name: value.strip() for name, value in values.items()}
    parts = {
        header(agent.template): list(_filled(form.header, values)),
        query(agent.template): list(_filled(form.query, values)),
        own(agent.template): [Part(form.own)],
    }
    for source in agent.reads:
        parts[label(agent.template, source)] = list(_filled(form.label, {"source": source}))
    if agent.reads and form.turn:
        parts[turn(agent.template)] = [Part(form.turn)]
    return parts


def _filled(template: str, values: Mapping[str, str]) -> Iterator[Part]:
    for literal, name, _, _ in Formatter().parse(template):
        yield Part(literal)
        if name is not None:
            yield Part(values[name], is_content=True)


def _encoded(parts: Sequence[Part], codec: Codec) -> list[int]:
    """As one text, as tokens may reach across parts; by parts if contents spell special tokens."""
    contents = [part.text for part in parts if part.is_content]
    if all(codec.encode(text) == codec.encode_content(text) for text in contents):
        return codec.encode(_joined(parts))
    encoders = {True: codec.encode_content, False: codec.encode}
    return [token for part in parts for token in encoders[part.is_content](part.text)]


def _joined(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts)


def escaped(text: str) -> str:
    """As a template of ``PromptFormat``."""
    return text.replace("{", "{{").replace("}", "}}")
