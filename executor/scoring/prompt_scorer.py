"""Scoring of prompts: what an agent wrote, with other texts before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from executor.engine import Tokens
from executor.prompts.as_read import as_read
from executor.scorer import Distributions, ForcedText, Scorer
from staircase.prompt import Prompt


@dataclass(frozen=True)
class PromptScorer:
    """Asks the model of an agent.

    Attributes:
        engines: by agent, those of its pipeline. Drafts are read in the tokens of the agent's own.
    """

    scorer: Scorer
    engines: Mapping[str, Tokens]

    def score(
        self, agent: str, prompts: Sequence[Prompt], ids: Mapping[str, Sequence[int]]
    ) -> Iterator[Distributions]:
        """Those from which the tokens of ``agent`` in each prompt were drawn.

        Raises:
            EngineError: a prompt could not be scored.
        """
        return self.scorer.score([self._forced(agent, prompt, ids) for prompt in prompts])

    def _forced(self, agent: str, prompt: Prompt, ids: Mapping[str, Sequence[int]]) -> ForcedText:
        tokens: list[int] = []
        places: list[int] = []
        for segment, some in as_read(self.engines, agent, prompt, ids):
            if segment.source == agent:
                places += range(len(tokens), len(tokens) + len(some))
            tokens += some
        return ForcedText(tokens, places)
