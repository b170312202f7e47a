"""How prompts of each engine are written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from executor.chat_messages import marked_turns
from executor.chat_template import (
    GAPS,
    ChatFormat,
    NoChatFormatError,
    chat_format,
    joins_cleanly,
)
from executor.embedded import samples
from executor.openai_engine import OpenAIEngine
from executor.rendering import Form, PromptFormat
from staircase.engine_spec import EngineSpec, FormatSpec, OpenAISpec


def form_of(spec: EngineSpec | OpenAISpec, tokenizer: Any) -> tuple[Form, str | None]:
    """By the scenario's ``format``, and what is odd about it, in words.

    Args:
        tokenizer: whose chat template prompts follow, if it has one.
    """
    if isinstance(spec.format, FormatSpec):
        return PromptFormat(**spec.format.model_dump()), None
    if spec.model == "embedded":
        return samples.FORMAT, None
    if spec.format == "plain" or not getattr(tokenizer, "chat_template", None):
        return PromptFormat(), None
    try:
        form = chat_format(tokenizer)
    except NoChatFormatError as error:
        return PromptFormat(), f"prompts do not follow the chat template: {error}"
    if joins_cleanly(tokenizer, form.gap):
        return form, None
    return form, (
        "the tokenizer joins neighbouring texts: prompts follow the chat template, but their "
        "tokens may differ where two texts meet"
    )


def form_of_server(spec: OpenAISpec, engine: OpenAIEngine) -> tuple[Form, str | None]:
    """Of a chat API messages; a server that gets text may add its beginning itself."""
    if engine.takes_messages:
        form, _ = form_of(spec, None)
        is_auto = spec.format == "auto" and spec.model != "embedded"
        return ChatFormat(marked_turns(engine.tokenizer), GAPS[0]) if is_auto else form, None
    form, remark = form_of(spec, engine.tokenizer)
    if isinstance(form, ChatFormat) and not engine.sends_ids:
        form = replace(form, turns=form.turns.without(_added(engine.tokenizer)))
    return form, remark


def _added(tokenizer: Any) -> str:
    """What the tokenizer itself puts before a text."""
    begin = tokenizer.bos_token_id
    return str(tokenizer.bos_token) if begin in tokenizer.encode("a")[:1] else ""
