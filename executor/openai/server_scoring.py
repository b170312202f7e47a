"""Scoring by servers that return the most probable tokens of a prompt's positions.

Servers tell log-probabilities of the k most probable tokens, and of the one that stands there. The
loss is the least KL that agrees with what two such distributions tell: tokens in both are taken one
by one; a token of the full one alone has at most the probability of the other's k-th; all the rest
is one lump. So it is at most the true KL, and nearer to it the larger k is; most is missed where
much lies beyond the k-th token. Agreement and NLL gap are exact.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executor.guarding import in_words
from executor.openai.server import Network, Server
from executor.openai.server_faults import Patience, ServerError
from executor.openai.server_profile import PATHS, PromptScores
from executor.scorer import Distributions, ForcedText, TokenFigures

# Rounding may leave a lump of nothing, or less.
LEAST_REST = 1e-9


@dataclass(frozen=True)
class TopDistribution:
    """Log-probabilities by token, an id or a text, of one position; ``drawn`` stands there."""

    tops: Mapping[str, float]
    drawn: str

    @property
    def best(self) -> str:
        return max(self.tops, key=self.tops.__getitem__)

    @property
    def lead(self) -> float:
        """How far ``drawn`` is before every other token that is told, in nats; below 0 where one of
        them is likelier."""
        others = [value for token, value in self.tops.items() if token != self.drawn]
        return self.tops[self.drawn] - max(others, default=-math.inf)

    @property
    def ceiling(self) -> float:
        """The most probability that a token can have that is not told."""
        others = [value for token, value in self.tops.items() if token != self.drawn]
        return math.exp(min(others, default=self.tops[self.drawn]))

    def divergence(self, less: TopDistribution) -> float:
        """In nats; a lower bound."""
        known = self.tops.keys() & less.tops.keys()
        pairs = [(self.tops[token], less.tops[token]) for token in known]
        loss = sum(math.exp(p) * (p - q) for p, q in pairs)
        rest = 1 - sum(math.exp(p) for p, _ in pairs), 1 - sum(math.exp(q) for _, q in pairs)
        alone = [math.exp(value) for token, value in self.tops.items() if token not in known]
        return max(loss + least_divergence(alone, *rest, less.ceiling), 0.0)


def least_divergence(alone: Sequence[float], p_rest: float, q_rest: float, ceiling: float) -> float:
    """Least Σ p·ln(p/q) over a rest with masses ``p_rest`` and ``q_rest``.

    KL is least where q is in proportion to p. Tokens ``alone``, of known p, for which that is more
    than ``ceiling`` have just that, from the most probable one on.
    """
    loss = 0.0
    for p in sorted(alone, reverse=True):
        if p * q_rest <= ceiling * p_rest:
            break
        loss += p * math.log(p / ceiling)
        p_rest, q_rest = p_rest - p, q_rest - ceiling
    p_rest, q_rest = max(p_rest, LEAST_REST), max(q_rest, LEAST_REST)
    return loss + p_rest * math.log(p_rest / q_rest)


@dataclass(frozen=True)
class TopDistributions:
    """One for each position."""

    positions: tuple[TopDistribution, ...]

    def rows(self, start: int, stop: int | None) -> TopDistributions:
        return TopDistributions(self.positions[start:stop])

    def against(self, less: Distributions) -> TokenFigures:
        assert isinstance(less, TopDistributions)
        pairs = list(zip(self.positions, less.positions, strict=True))
        return TokenFigures(
            np.array([full.divergence(other) for full, other in pairs]),
            np.array([float(full.best == other.best) for full, other in pairs]),
            np.array([full.tops[full.drawn] - other.tops[other.drawn] for full, other in pairs]),
        )

    def behind_best(self) -> NDArray[np.float64]:
        return np.array([one.tops[one.best] - one.tops[one.drawn] for one in self.positions])


class ServerScorer:
    """Asks a server, ``max_concurrency`` texts at a time."""

    def __init__(
        self,
        network: Network,
        server: Server,
        model: str,
        scores: PromptScores,
        patience: Patience,
        max_concurrency: int,
    ) -> None:
        self._network = network
        self._server = server
        self._model = model
        self._scores = scores
        self._patience = patience
        self._max_concurrency = max_concurrency

    def score(self, texts: Sequence[ForcedText]) -> Iterator[Distributions]:
        yield from self._network.run(self._all(texts))

    async def _all(self, texts: Sequence[ForcedText]) -> list[TopDistributions]:
        seats = asyncio.Semaphore(self._max_concurrency)

        async def one(text: ForcedText) -> TopDistributions:
            async with seats:
                return await self._one(text)

        return await asyncio.gather(*map(one, texts))

    async def _one(self, text: ForcedText) -> TopDistributions:
        body = scoring_body(self._model, text.ids, self._scores)
        answer = await self._patience.insist(lambda: self._server.fetch(PATHS["completions"], body))
        every = read_scores(answer, text.ids, self._scores)
        return TopDistributions(tuple(every[place - 1] for place in text.positions))


def scoring_body(model: str, ids: Sequence[int], scores: PromptScores) -> Any:
    """A request for the log-probabilities of a prompt; it has to write one token."""
    asked = {"prompt_logprobs": scores.top}
    if scores.form == "echo":
        asked = {"echo": True, "logprobs": scores.top}
    return {"model": model, "prompt": list(ids), "max_tokens": 1, "temperature": 0.0, **asked}


def read_scores(
    answer: Any, ids: Sequence[int], scores: PromptScores, first: int = 1
) -> list[TopDistribution]:
    """Those of all tokens of the prompt from the ``first`` on; nothing stands before that of 0.

    Raises:
        ServerError: the answer does not hold them.
    """
    read = _vllm if scores.form == "prompt_logprobs" else _echoed
    try:
        return [read(answer["choices"][0], place, ids) for place in range(first, len(ids))]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ServerError(f"not the log-probabilities of a prompt ({in_words(error)})") from None


def _vllm(choice: Any, place: int, ids: Sequence[int]) -> TopDistribution:
    """``prompt_logprobs``: by position, entries by token id."""
    entries = choice["prompt_logprobs"][place]
    tops = {token: log_probability(entry["logprob"]) for token, entry in entries.items()}
    return told_distribution(tops, str(ids[place]))


def _echoed(choice: Any, place: int, ids: Sequence[int]) -> TopDistribution:
    """``logprobs`` of a completion that repeats its prompt: entries by token text."""
    said = choice["logprobs"]
    drawn = str(said["tokens"][place])
    tops = {token: log_probability(value) for token, value in said["top_logprobs"][place].items()}
    return told_distribution(tops | {drawn: log_probability(said["token_logprobs"][place])}, drawn)


def told_distribution(tops: dict[str, float], drawn: str) -> TopDistribution:
    """Raises ValueError: a server that tells the likeliest tokens tells the one that stands too."""
    if drawn not in tops:
        raise ValueError(f"token {drawn} is not among its own")
    return TopDistribution(tops, drawn)


def log_probability(value: Any) -> float:
    """vLLM writes -9999 for minus infinity, JSON's nearest."""
    number = float(value)
    if math.isnan(number) or number > LEAST_REST:
        raise ValueError(f"{value} is no log-probability")
    return max(number, -9999.0)
