"""What makes a simulated engine decode faster: transforms of what a decode iteration costs.

Each says how many tokens a round of it yields on average and what the round costs, in iterations of
the engine as it is without. ``profiles.hardware.transforms`` has the formulas.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, model_validator

from staircase.bounds import MOST_BITS, MOST_COST, MOST_WIDTH
from staircase.spec.strict import Strict

Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Cost = Annotated[float, Field(ge=0, le=MOST_COST)]
PositiveCost = Annotated[float, Field(gt=0, le=MOST_COST)]
Tokens = Annotated[float, Field(ge=1, le=MOST_WIDTH)]
Width = Annotated[int, Field(ge=1, le=MOST_WIDTH)]


class MeasuredGuessesSpec(Strict):
    """An agent whose texts were guessed, in a profile of quality or lengths."""

    profile: str
    agent: str


class SpeculativeSpec(Strict):
    """Speculative decoding: ``draft_tokens`` are drafted one by one, then checked at once.

    Each is accepted with probability ``acceptance``; or ``tokens_per_round`` come of a round on
    average, the checked model's own among them. A drafted token takes ``draft_cost`` iterations of
    the engine. Checking takes ``verify_cost``; if not given, what the engine's own tables say of an
    iteration with so many tokens, which is more with many sequences. Where drafting and checking
    are ``overlapped``, a round takes the longer of them.

    Or what comes of a round and how many tokens it checks was ``measured`` on texts of a pipeline,
    where they were looked up in prompts, which costs nothing; then nothing else is given.
    """

    kind: Literal["speculative"]
    draft_tokens: Width | None = None
    acceptance: Share | None = None
    tokens_per_round: Tokens | None = None
    draft_cost: Cost = 0.0
    verify_cost: PositiveCost | None = None
    overlapped: bool = False
    measured: MeasuredGuessesSpec | None = None

    @model_validator(mode="after")
    def _check_yield(self) -> Self:
        if self.measured:
            more = sorted(self.model_fields_set - {"kind", "measured"})
            if more:
                raise ValueError(f"{more[0]} has no effect beside measured, which says it")
            return self
        if self.draft_tokens is None:
            raise ValueError("give draft_tokens, or measured")
        if (self.acceptance is None) == (self.tokens_per_round is None):
            raise ValueError("give one of acceptance and tokens_per_round")
        if self.tokens_per_round is not None and self.tokens_per_round > self.draft_tokens + 1:
            raise ValueError("tokens_per_round must not be above draft_tokens + 1")
        return self


class MultiTokenSpec(Strict):
    """Several tokens a pass: multi-token or block decoding, with ``tokens_per_step`` on average.

    A pass takes ``step_cost`` iterations of the engine; or, if it computes a ``window`` of
    positions of each sequence, what the engine's own tables say of an iteration with so many
    tokens.
    """

    kind: Literal["multi_token"]
    tokens_per_step: Tokens
    step_cost: PositiveCost | None = None
    window: Width | None = None

    @model_validator(mode="after")
    def _check_cost(self) -> Self:
        if self.step_cost is not None and self.window is not None:
            raise ValueError("give one of step_cost and window, or neither")
        return self


class EarlyExitSpec(Strict):
    """Early exit: a ``share`` of the tokens pass through a ``depth`` of the layers only.

    An iteration goes as deep as the deepest of its sequences. Looking whether to exit costs
    ``overhead`` of an iteration.
    """

    kind: Literal["early_exit"]
    share: Share
    depth: PositiveShare
    overhead: Cost = 0.0


class QuantizedSpec(Strict):
    """Weights of ``weight_bits`` and KV cache of ``kv_bits`` in place of 16.

    ``weight_share`` of an iteration's time without attention is spent on reading weights, and only
    that shrinks; the default holds for few sequences.
    """

    kind: Literal["quantized"]
    weight_bits: Annotated[float, Field(gt=0, le=MOST_BITS)] = MOST_BITS
    kv_bits: Annotated[float, Field(gt=0, le=MOST_BITS)] = MOST_BITS
    weight_share: Share = 1.0


TransformSpec = Annotated[
    SpeculativeSpec | MultiTokenSpec | EarlyExitSpec | QuantizedSpec, Discriminator("kind")
]
