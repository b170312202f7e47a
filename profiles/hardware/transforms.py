"""What a transform makes of a decode iteration that gives each of n sequences one token.

    dense      weights, activations, host: all that does not depend on context
    attention  reading the KV cache

One token then takes this factor times as long, r(w) being an iteration with w·n tokens over one
with n, from the engine's own tables:

    speculative  E = (1 - a^(k+1)) / (1 - a) tokens of k drafts at c each and one check:
                 dense (k·c + r(k+1)) / E, attention (k·c + 1) / E, as KV is read once for all;
                 overlapped: the larger in place of the sum
                 measured on texts: passes of w tokens gave k on average: dense mean(r(w)) / k,
                 attention 1 / k
    multi_token  m tokens a pass over w positions: dense r(w) / m, attention 1 / m
    early_exit   a share p exits at depth d; all n do with p^n: 1 - p^n·(1 - d) + overhead, for both
    quantized    dense 1 - s·(1 - weight bits / 16), attention KV bits / 16

Sources: E and k·c + 1 are Leviathan et al., Fast Inference from Transformers via Speculative
Decoding, ICML 2023, theorem 3.8, with r = 1; the others count passes and bytes. All are means: the
simulated engine gives one token at a time at this mean rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

from profiles.guessed_passes import GuessedTexts
from staircase.spec.transform_spec import (
    EarlyExitSpec,
    MultiTokenSpec,
    QuantizedSpec,
    SpeculativeSpec,
    TransformSpec,
)

# What a scenario says, and texts that were measured where it names them.
Transform = TransformSpec | GuessedTexts
# What an iteration that computes so many tokens of each sequence takes, over one of 1 token.
Widened = Callable[[int], float]


@dataclass(frozen=True)
class Factors:
    """By which the two parts of a decode iteration grow, for each token that comes of it."""

    dense: float
    attention: float

    def times(self, other: Factors) -> Factors:
        return Factors(self.dense * other.dense, self.attention * other.attention)


def factors(transforms: Sequence[Transform], sequences: int, widened: Widened) -> Factors:
    """Of all ``transforms`` together, with ``sequences`` decoding."""
    each = (factors_of(transform, sequences, widened) for transform in transforms)
    return reduce(Factors.times, each, Factors(1.0, 1.0))


def factors_of(transform: Transform, sequences: int, widened: Widened) -> Factors:
    match transform:
        case GuessedTexts():
            return _guessed(transform, widened)
        case SpeculativeSpec():
            return _speculative(transform, widened)
        case MultiTokenSpec():
            return _multi_token(transform, widened)
        case EarlyExitSpec():
            return _early_exit(transform, sequences)
        case QuantizedSpec():
            dense = 1 - transform.weight_share * (1 - transform.weight_bits / 16)
            return Factors(dense, transform.kv_bits / 16)


def expected_tokens(acceptance: float, draft_tokens: int) -> float:
    """Tokens of a round: the accepted drafts, and the one of the model that checks them."""
    return sum(acceptance**drafted for drafted in range(draft_tokens + 1))


def _guessed(texts: GuessedTexts, widened: Widened) -> Factors:
    return Factors(texts.factor(widened), texts.factor(lambda width: 1.0))


def _speculative(spec: SpeculativeSpec, widened: Widened) -> Factors:
    drafted = spec.draft_tokens or 0
    tokens = spec.tokens_per_round or expected_tokens(spec.acceptance or 0.0, drafted)
    draft = drafted * spec.draft_cost
    check = spec.verify_cost or widened(drafted + 1)
    if spec.overlapped:
        return Factors(max(draft, check) / tokens, max(draft, 1.0) / tokens)
    return Factors((draft + check) / tokens, (draft + 1.0) / tokens)


def _multi_token(spec: MultiTokenSpec, widened: Widened) -> Factors:
    if spec.step_cost is not None:
        cost = spec.step_cost / spec.tokens_per_step
        return Factors(cost, cost)
    return Factors(widened(spec.window or 1) / spec.tokens_per_step, 1 / spec.tokens_per_step)


def _early_exit(spec: EarlyExitSpec, sequences: int) -> Factors:
    mean = 1 - spec.share**sequences * (1 - spec.depth) + spec.overhead
    return Factors(mean, mean)
