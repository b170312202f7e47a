"""Drafts as a client may see them while they are written: whole sentences, each with its author."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from executor.runtime import ServedModel
from executor.tokens.streaming_text import StreamingText
from staircase.pipeline import Pipeline

# Of a sentence or a line.
END = re.compile(r"[.!?](?=\s|$)|\n")


class Drafts:
    """What the agents beside the one that answers have written."""

    def __init__(self, pipeline: Pipeline, served: Mapping[str, ServedModel]) -> None:
        self._texts = {
            agent.name: StreamingText(served[agent.engine].engine.decode) for agent in pipeline
        }
        self._shown = dict.fromkeys(self._texts, 0)

    def add(self, agent: str, ids: Sequence[int]) -> str:
        """The sentences that ``agent`` has finished by now, given all its tokens."""
        stream = self._texts[agent]
        if not END.search(stream.update(ids)):
            return ""
        shown = self._shown[agent]
        end = max((found.end() for found in END.finditer(stream.text, shown)), default=shown)
        self._shown[agent] = end
        lines = stream.text[shown:end].splitlines()
        return "".join(f"[{agent}] {line.strip()}\n" for line in lines if line.strip())
