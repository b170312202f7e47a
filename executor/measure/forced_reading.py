"""One agent's finished text, scored as if it had been written along another staircase."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from executor.scorer import Distributions, TokenFigures
from executor.scoring.prompt_scorer import PromptScorer
from staircase.pipeline import Agent
from staircase.prompt import Prompt, Round, build_prompt
from staircase.schedule import Layout, Staircase

Ids = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class ForcedReading:
    """``agent``'s text, and all other texts of the request.

    Attributes:
        ids: token ids by agent and prompt text, as their writers have them.
    """

    agent: Agent
    asked: PromptScorer
    ids: Ids

    @property
    def text_tokens(self) -> int:
        return len(self.ids[self.agent.name])

    @property
    def lengths(self) -> list[int]:
        return [len(self.ids[source]) for source in self.agent.reads]

    def prompt(self, layout: Layout, rounds: Sequence[Round]) -> Prompt:
        """The whole text as it stands at the end if it was written in ``rounds``."""
        fixed = {name: len(tokens) for name, tokens in self.ids.items()}
        return build_prompt(
            self.agent.name, self.agent.reads, rounds, self.text_tokens, layout, fixed
        )

    def flat(self, level: int | None, without: int | None = None) -> list[Round]:
        """``level`` tokens of each source (None: all) before the first own one.

        Args:
            without: number of a source of which nothing is read.
        """
        read = [n if level is None else min(n, level) for n in self.lengths]
        return [Round(tuple(0 if k == without else n for k, n in enumerate(read)), 0)]

    def in_rounds(self, count: int) -> list[Round]:
        """Everything, in ``count`` rounds of as many tokens each."""
        longest = max(self.lengths)
        cuts = dict.fromkeys(-(-longest * place // count) for place in range(1, count + 1))
        return [Round(tuple(min(n, cut) for n in self.lengths), 0) for cut in cuts]

    def along(self, staircase: Staircase) -> list[Round]:
        rounds, written, number = [], 0, 0
        while True:
            step = staircase.step(number)
            read = tuple(n if step.read is None else min(n, step.read) for n in self.lengths)
            rounds.append(Round(read, written))
            if step.write is None or list(read) == self.lengths:
                return rounds
            number, written = number + 1, written + step.write
            if written >= self.text_tokens:
                return rounds

    def levels(self, rounds: Sequence[Round]) -> NDArray[np.int64]:
        """The most that was read of any source before each position."""
        levels = np.zeros(self.text_tokens, dtype=np.int64)
        for entry in rounds:
            levels[entry.written :] = max(entry.read)
        return levels

    def compare(self, full: Prompt, less: Sequence[Prompt]) -> list[TokenFigures]:
        """``less`` beside ``full``, at every position; each prompt is scored once.

        Of drafts that are shorter than a read level everything is read: that is ``full`` again.
        """
        others = [prompt for prompt in dict.fromkeys(less) if prompt != full]
        scored = self.score([full, *others])
        reference = next(scored)
        same = reference.against(reference)
        found = {one: reference.against(of) for one, of in zip(others, scored, strict=True)}
        return [found.get(prompt, same) for prompt in less]

    def score(
        self, prompts: Sequence[Prompt], last: Sequence[int] | None = None
    ) -> Iterator[Distributions]:
        """Those from which the agent's tokens in each prompt were drawn, or its ``last`` ones."""
        return self.asked.score(self.agent.name, prompts, self.ids, last)
