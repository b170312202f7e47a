"""The texts that prompts are written in, as a short hash: of other texts it is another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from typing import Any

from executor.embedded_models import FORMAT, MODEL_FOLDERS
from executor.tokens.chat_template import GAPS, GO_ON, ChatFormat, Turns
from executor.tokens.rendering import PromptFormat
from profiles.store import content_hash
from staircase.pipeline import Agent
from staircase.spec.engine_spec import EngineSpec, OpenAISpec

SHORT = 8
# Made-up templates, with a system's turn and without, and agents that they are filled in for.
TURNS = (
    Turns("<user>", ("<system>", "<user>"), "<answer>", "<again>"),
    Turns("<user>", None, "<answer>", "<again>"),
)
AGENTS = (Agent("reader", reads=("source",), role="role"), Agent("alone", role="role"))


def wording_of(spec: EngineSpec | OpenAISpec, format_name: str) -> str:
    """Of all texts that its prompts may be written in, whatever tokenizer it has."""
    if spec.model in MODEL_FOLDERS:
        texts = [asdict(FORMAT)]
    elif format_name == "plain":
        texts = [asdict(PromptFormat())]
    else:
        texts = [asdict(PromptFormat()), *_chat_texts()]
    more = [GO_ON] if isinstance(spec, OpenAISpec) else []
    return content_hash([*texts, *more])[:SHORT]


def _chat_texts() -> Iterator[dict[str, Any]]:
    for turns, agent in product(TURNS, AGENTS):
        yield asdict(ChatFormat(turns, GAPS[0]).of(agent))
