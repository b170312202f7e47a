"""How prompts of each engine are written."""

from __future__ import annotations

from typing import Any

from executor.embedded_models import FORMAT, MODEL_FOLDERS
from executor.openai.connecting import knows_format
from executor.openai.engine import OpenAIEngine
from executor.tokens.chat_template import NoChatFormatError, chat_format, joins_cleanly
from executor.tokens.rendering import Form, PromptFormat
from executor.tokens.token_ids import beginning_of
from staircase.pipeline import Thinking
from staircase.spec.engine_spec import EngineSpec, FormatSpec, OpenAISpec


def form_of(
    spec: EngineSpec | OpenAISpec,
    tokenizer: Any,
    tags: tuple[str, str] = Thinking.tags,
    is_whole: bool = True,
) -> tuple[Form, str | None]:
    """By the scenario's ``format``, and what is odd about it, in words.

    Args:
        tokenizer: whose chat template prompts follow; None where there is none, or the server
            applies it.
        tags: around thoughts.
        is_whole: nobody puts anything before a prompt, so it begins as the tokenizer's texts do.
    """
    begin = beginning_of(tokenizer) if is_whole and tokenizer is not None else ""
    if isinstance(spec.format, FormatSpec):
        return PromptFormat(**spec.format.model_dump()).begun(begin), None
    if spec.model in MODEL_FOLDERS:
        return FORMAT, None
    plain = PromptFormat().begun(begin)
    if spec.format == "plain" or not getattr(tokenizer, "chat_template", None):
        return plain, None
    try:
        form = chat_format(tokenizer, tags)
    except NoChatFormatError as error:
        return plain, f"prompts do not follow the chat template: {error}"
    if not is_whole:
        form = form.without(beginning_of(tokenizer))
    if joins_cleanly(tokenizer, form.gap):
        return form, None
    return form, (
        "the tokenizer joins neighbouring texts: prompts follow the chat template, but their "
        "tokens may differ where two texts meet"
    )


def form_of_server(
    spec: OpenAISpec, engine: OpenAIEngine, tags: tuple[str, str] = Thinking.tags
) -> tuple[Form, str | None]:
    """A chat API applies the template itself, and a server that gets text may add its beginning."""
    form, remark = form_of(spec, engine.template_tokenizer, tags, engine.sends_ids)
    if not engine.applies_template and not knows_format(spec):
        remark = (
            "prompts are bare texts, on which a chat model repeats itself: name its tokenizer, or "
            "say format: plain if it is none"
        )
    return form, remark
