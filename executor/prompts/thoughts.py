"""How the agents of a scenario think before they answer.

Where prompts are made here, in process or for a completions API, so are the beginning and the end
of a thought. A chat API does that itself, and is told by fields.

    vLLM        chat_template_kwargs, thinking_token_budget
    llama.cpp   chat_template_kwargs, thinking_budget_tokens
    SGLang      chat_template_kwargs
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from executor.engine import Thought
from executor.openai.engine import OpenAIEngine
from executor.tokens.chat_template import SWITCH, ChatFormat, empty_thought, template_of
from executor.tokens.rendering import Form
from staircase.errors import EngineError
from staircase.pipeline import Agent, Thinking

# Of a thought, unless the scenario says how long it may be.
BUDGET = 1024
TEMPLATE_FIELDS = "chat_template_kwargs"
BUDGET_FIELDS = ("thinking_token_budget", "thinking_budget_tokens")


def tags_of(agents: Iterable[Agent]) -> tuple[str, str]:
    """Around the thoughts of one engine's agents.

    Raises:
        EngineError: they differ.
    """
    found = {agent.thinking.tags: agent.name for agent in agents if agent.thinking}
    if len(found) > 1:
        one, other, *_ = found.values()
        raise EngineError(
            f"agents {one!r} and {other!r} have one engine and different thinking.tags; "
            "a model has the same for all"
        )
    return next(iter(found), Thinking.tags)


def thought_of(agent: Agent, form: Form, tokenizer: Any) -> Thought | None:
    """Of an agent whose prompts are made here; None if nothing says that it thinks.

    Args:
        tokenizer: the model's, if it is known.

    Raises:
        EngineError: it must not think, and its chat template does not know of that.
    """
    thinking = agent.thinking or Thinking()
    can_be_told = isinstance(form, ChatFormat) and form.told
    if thinking.enabled is False and not can_be_told:
        raise EngineError(
            f"agent {agent.name!r}: thinking.enabled: false needs prompts by a chat template that "
            f"knows {SWITCH}, and engine {agent.engine!r} has none"
        )
    if agent.thinking is None and thinking.tags[1] not in template_of(tokenizer):
        return None
    if not isinstance(form, ChatFormat):
        return Thought(
            thinking.tags, _budget(thinking), is_forced=True, empty=empty_thought(thinking.tags)
        )
    turns = form.turns_of(agent)
    if turns.answer.rstrip().endswith(thinking.tags[1]):
        # The prompt has a thought that is over.
        return Thought(thinking.tags, is_forced=True)
    return Thought(
        thinking.tags,
        _budget(thinking),
        is_forced=True,
        lead=turns.lead,
        empty=form.empty_thought(agent),
    )


def _budget(thinking: Thinking) -> int:
    return BUDGET if thinking.budget is None else thinking.budget


def thought_by_chat(agent: Agent, engine: OpenAIEngine) -> Thought:
    """Of an agent behind a chat API; without a word about it, thinking takes of ``max_tokens``.

    Raises:
        EngineError: the server does not take what it must be told.
    """
    thinking = agent.thinking
    if thinking is None:
        return Thought(Thinking.tags)
    silent = {TEMPLATE_FIELDS: {SWITCH: False}}
    knows = _takes(agent, engine, silent)
    if thinking.enabled is not None and not knows:
        raise EngineError(_refusal(agent, "enabled", [TEMPLATE_FIELDS]))
    fields: dict[str, Any] = {}
    if thinking.enabled is not None:
        fields[TEMPLATE_FIELDS] = {SWITCH: thinking.enabled}
    if thinking.budget is not None:
        fields |= _limits(agent, engine, thinking.budget)
    budget = 0 if thinking.enabled is False else _budget(thinking)
    return Thought(thinking.tags, budget, fields=fields, later_fields=silent if knows else {})


def _limits(agent: Agent, engine: OpenAIEngine, budget: int) -> dict[str, int]:
    """The budget by every name that the server takes: what it does not know it reads over."""
    found = {name: budget for name in BUDGET_FIELDS if _takes(agent, engine, {name: budget})}
    if not found:
        raise EngineError(_refusal(agent, "budget", BUDGET_FIELDS))
    return found


def _takes(agent: Agent, engine: OpenAIEngine, fields: Mapping[str, Any]) -> bool:
    try:
        return engine.takes(fields)
    except EngineError as error:
        raise EngineError(f"engine {agent.engine!r}: {error}") from None


def _refusal(agent: Agent, key: str, fields: Iterable[str]) -> str:
    return (
        f"agent {agent.name!r}: thinking.{key}: the server of engine {agent.engine!r} takes none "
        f"of {', '.join(fields)}; use api: completions, or leave it out"
    )
