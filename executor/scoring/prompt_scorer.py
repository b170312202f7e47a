"""Scoring of prompts: what an agent wrote, with other texts before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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
        self,
        agent: str,
        prompts: Sequence[Prompt],
        ids: Mapping[str, Sequence[int]],
        last: Sequence[int] | None = None,
    ) -> Iterator[Distributions]:
        """Those from which the tokens of ``agent`` in each prompt were drawn.

        Args:
            last: of each prompt only so many of the agent's tokens, the last ones, at least one.

        Raises:
            EngineError: a prompt could not be scored.
        """
        forced = [self._forced(agent, prompt, ids) for prompt in prompts]
        if last is not None:
            pairs = zip(forced, last, strict=True)
            forced = [replace(one, positions=one.positions[-tokens:]) for one, tokens in pairs]
        return self.scorer.score(forced)

    def _forced(self, agent: str, prompt: Prompt, ids: Mapping[str, Sequence[int]]) -> ForcedText:
        tokens: list[int] = []
        places: list[int] = []
        for segment, some in as_read(self.engines, agent, prompt, ids):
            if segment.source == agent:
                places += range(len(tokens), len(tokens) + len(some))
            tokens += some
        return ForcedText(tokens, places)
