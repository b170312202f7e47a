"""Prompt texts from a tokenizer's chat template, found by rendering it.

A conversation of marks is rendered and cut at them; what stands between is what the template puts
around contents. The role is the system's turn, or the beginning of the user's where the template
has no system (or moves it). Query and drafts are the user's turn, own text begins the assistant's;
interleaved, more of the drafts is a further turn of the user's.

Prompts are encoded text by text, so texts begin and end where tokens do: no fixed text ends in
space before another, and what stands before labels is chosen for the tokenizer (``choose_gap``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from executor.guarding import in_words
from executor.tokens.rendering import Encode, PromptFormat, escaped, slots
from staircase.pipeline import Agent, Thinking

# Names before drafts, and the word itself, are what small models copy into their answers
# (docs/log.md, 2026-11-29): drafts are told apart by a line.
INTRODUCTION = "Below are a question and notes on it."
QUESTION = "Question:\n{query}"
LABEL = "---\n"
REQUEST = "Now answer the question in your own words."
MORE = "More notes follow; then go on with your answer."
# After an answer that is restated, to servers that cannot continue one (executor.openai.restating).
GO_ON = (
    "\n\n[This answer is not finished. Write only what comes next, right after its last word; "
    "repeat nothing of it.]"
)

# Marks for contents, which no template has.
ROLE, USER, ASSISTANT, LATER = (f"staircase-{name}" for name in ("role", "user", "self", "later"))
# By which templates are told whether to think.
SWITCH = "enable_thinking"
# Before labels, best first.
GAPS = ("\n\n", " \n\n")
# How drafts end and go on where they are cut between words.
ENDS = ("word", "7", "end.", "why?", "so,", "(aside)", '"quote"', "list:", "half-", "**")
STARTS = ("Word", " word", "7", "**", "- ", '"Word')

Render = Callable[..., str]


class NoChatFormatError(Exception):
    """What is odd about a chat template."""


@dataclass(frozen=True)
class Turns:
    """What a template puts around contents.

    Attributes:
        opening: before the user's first content where there is no system's turn.
        system: before the role and from there to the user's content; None: folded into the latter.
        answer: from the user's content to the assistant's, as if the latter was asked for.
        again: from the assistant's content to the user's next one.
        lead: opens a thought where an answer begins, after ``answer``; empty where the model does.
        answered: as ``answer``, before an answer of an earlier turn.
    """

    opening: str
    system: tuple[str, str] | None
    answer: str
    again: str
    lead: str = ""
    answered: str = ""

    def without(self, beginning: str) -> Turns:
        """For those who put ``beginning`` before every prompt themselves."""
        system = self.system and (self.system[0].removeprefix(beginning), self.system[1])
        return replace(self, opening=self.opening.removeprefix(beginning), system=system)


@dataclass(frozen=True)
class ChatFormat:
    """Prompts as conversations; ``gap`` stands before labels.

    Attributes:
        told: the turns where the template is told whether to think, if it knows how to be told.
        tags: around a thought.
    """

    turns: Turns
    gap: str
    told: Mapping[bool, Turns] = field(default_factory=dict)
    tags: tuple[str, str] = Thinking.tags

    def of(self, agent: Agent, earlier: int = 0) -> PromptFormat:
        if agent.reads:
            return self._reader(agent, earlier)
        return self._later(agent, earlier) if earlier else self._alone(agent)

    def without(self, beginning: str) -> ChatFormat:
        """As ``Turns.without``."""
        told = {key: turns.without(beginning) for key, turns in self.told.items()}
        return replace(self, turns=self.turns.without(beginning), told=told)

    def turns_of(self, agent: Agent) -> Turns:
        """Those by which ``agent`` thinks as it shall."""
        enabled = agent.thinking.enabled if agent.thinking else None
        return self.turns if enabled is None else self.told.get(enabled, self.turns)

    def empty_thought(self, agent: Agent) -> str:
        """One that is over before an answer: as the template puts it, or else by the tags."""
        answer, silent = self.turns_of(agent).answer, self.told.get(False, self.turns).answer
        empty = silent.removeprefix(answer)
        return empty if empty != silent and self.tags[1] in empty else empty_thought(self.tags)

    def _reader(self, agent: Agent, earlier: int) -> PromptFormat:
        turns = self.turns_of(agent)
        return PromptFormat(
            self._opening(agent, earlier) + INTRODUCTION,
            self.gap + QUESTION,
            self.gap + LABEL,
            self.gap + REQUEST + turns.answer,
            turns.again + MORE,
            trims=True,
        )

    def _alone(self, agent: Agent) -> PromptFormat:
        before = self._before(agent)
        head = before.rstrip()
        question = before[len(head) :] + self._folded(agent) + "{query}"
        return PromptFormat(head, question, "", self.turns_of(agent).answer, trims=True)

    def _later(self, agent: Agent, earlier: int) -> PromptFormat:
        """Of one who reads nobody, after earlier turns."""
        opening = self._opening(agent, earlier)
        head = opening.rstrip()
        question = opening[len(head) :] + "{query}"
        return PromptFormat(head, question, "", self.turns_of(agent).answer, trims=True)

    def _opening(self, agent: Agent, earlier: int) -> str:
        """Up to the content of the user's last turn; a folded role begins the first one."""
        turns = self.turns_of(agent)
        answered, again = escaped(turns.answered), escaped(turns.again)
        said = "".join(asked + answered + answer + again for asked, answer in slots(earlier))
        return self._before(agent) + self._folded(agent) + said

    def _before(self, agent: Agent) -> str:
        """Up to the user's content."""
        turns = self.turns_of(agent)
        if self._has_system(agent):
            assert turns.system
            return "{role}".join(map(escaped, turns.system))
        return escaped(turns.opening)

    def _folded(self, agent: Agent) -> str:
        """The role where it begins the user's content."""
        is_folded = agent.role.strip() and not self._has_system(agent)
        return "{role}\n\n" if is_folded else ""

    def _has_system(self, agent: Agent) -> bool:
        return self.turns_of(agent).system is not None and bool(agent.role.strip())


def chat_format(tokenizer: Any, tags: tuple[str, str] = Thinking.tags) -> ChatFormat:
    """That of ``tokenizer``, which has a chat template.

    Args:
        tags: around a thought.

    Raises:
        NoChatFormatError: the template does not keep contents apart, or later turns differ.
    """
    turns = find_turns(_renderer(tokenizer), tags[0])
    told = {}
    if SWITCH in template_of(tokenizer):
        for word in (True, False):
            told[word] = find_turns(_renderer(tokenizer, **{SWITCH: word}), tags[0])
    return ChatFormat(turns, choose_gap(tokenizer), told, tags)


def template_of(tokenizer: Any) -> str:
    """The source of its chat template, or of all that it has; empty where there is none."""
    found = getattr(tokenizer, "chat_template", None)
    return "\n".join(found.values()) if isinstance(found, dict) else found or ""


def empty_thought(tags: tuple[str, str]) -> str:
    return f"{tags[0]}\n\n{tags[1]}\n\n"


def find_turns(render: Render, opening_tag: str = Thinking.tags[0]) -> Turns:
    """Of the template behind ``render``, which takes pairs of role and content.

    Raises:
        NoChatFormatError: as ``chat_format``.
    """
    opening, answer = _cut(render, ("user", USER))
    later = ("user", USER), ("assistant", ASSISTANT), ("user", LATER)
    first, answered, again, last = _cut(render, *later)
    if (first, last) != (opening, answer):
        raise NoChatFormatError("what it puts around a first turn is not what it puts later")
    system = _system(render, answer, again)
    bare, tag, rest = answer.rpartition(opening_tag)
    if tag and not rest.strip():
        return Turns(opening, system, bare, again, tag + rest, answered)
    return Turns(opening, system, answer, again, answered=answered)


def _system(render: Render, answer: str, again: str) -> tuple[str, str] | None:
    """None where there is none, or not before the first turn whatever follows."""
    asked = ("system", ROLE), ("user", USER)
    try:
        before, between, last = _cut(render, *asked)
        longer = _cut(render, *asked, ("assistant", ASSISTANT), ("user", LATER))
    except NoChatFormatError:
        return None
    is_same = (longer[:2], longer[3:], last) == ([before, between], [again, answer], answer)
    return (before, between) if is_same else None


def _cut(render: Render, *turns: tuple[str, str]) -> list[str]:
    """What is rendered before, between and after the contents."""
    pieces, rest = [], render(*turns)
    for _, mark in turns:
        if rest.count(mark) != 1:
            raise NoChatFormatError("it leaves out, repeats or changes what is said")
        piece, rest = rest.split(mark)
        pieces.append(piece)
    return [*pieces, rest]


def choose_gap(tokenizer: Any) -> str:
    """What stands before labels: the first at which tokens do not reach into what is before it."""
    encode = _encoder(tokenizer)
    return next((gap for gap in GAPS if _follows(encode, gap)), GAPS[0])


def joins_cleanly(tokenizer: Any, gap: str) -> bool:
    """Whether drafts that are cut between words have the tokens that the whole prompt has."""
    encode = _encoder(tokenizer)
    label = gap + LABEL
    return _follows(encode, gap) and all(_joins(encode, label, start) for start in STARTS)


def _follows(encode: Encode, gap: str) -> bool:
    """Whether tokens of a label do not reach into the text before it."""
    label = gap + LABEL
    return all(_joins(encode, end, label) for end in ENDS)


def _joins(encode: Encode, before: str, after: str) -> bool:
    return encode(before) + encode(after) == encode(before + after)


def _renderer(tokenizer: Any, **told: bool) -> Render:
    def render(*turns: tuple[str, str]) -> str:
        said = [{"role": role, "content": content} for role, content in turns]
        try:
            return str(
                tokenizer.apply_chat_template(
                    said, tokenize=False, add_generation_prompt=True, **told
                )
            )
        except Exception as error:  # a template is somebody's program
            raise NoChatFormatError(in_words(error)) from None

    return render


def _encoder(tokenizer: Any) -> Encode:
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False))
