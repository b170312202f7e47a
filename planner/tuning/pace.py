"""The pace of the machine: what it takes for always the same, over what the profile says of it.

A machine that others use too is now faster, now slower, for all that runs on it. Runs of some
minutes are told apart from those before by a reference: one short call, again and again between
them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from executor.engine import Engine
from executor.measure.call_recorder import serve
from executor.opened_engines import OpenedEngines
from planner.profiling.targets import random_tokens
from profiles.latency.profile import EngineProfile, LatencyProfile
from staircase.pipeline import Pipeline

PROMPT_TOKENS = 24
WRITTEN_TOKENS = 24


@dataclass(frozen=True)
class Reference:
    """A call that is always the same but for its prompt, which no cache should know.

    Attributes:
        prompts: taken in turn; neither begins as the other.
    """

    engine: Engine
    profile: EngineProfile
    prompts: Sequence[Sequence[int]]

    @property
    def expected_s(self) -> float:
        prompt = len(self.prompts[0])
        contexts = range(prompt + 1, prompt + WRITTEN_TOKENS)
        return self.profile.prefill_s(prompt, 0) + sum(
            self.profile.decode_s(1, context) for context in contexts
        )

    def pace(self, number: int) -> float:
        """Seconds that it takes now, over those expected.

        Raises:
            RuntimeError: the call failed.
        """
        prompt = list(self.prompts[number % len(self.prompts)])
        recorder = serve(self.engine, [prompt], WRITTEN_TOKENS)
        took_ns = recorder.times_ns[0][-1] - recorder.reports[0].started_ns
        return took_ns / 1e9 / self.expected_s


def reference_of(
    opened: OpenedEngines, pipeline: Pipeline, latency: LatencyProfile
) -> Reference | None:
    """On an engine in this process; None if there is none: servers keep their own pace.

    It is the last one, as after a request: who has the next turn on a device depends on that.
    """
    local = [name for name in opened.models if name in pipeline.engines]
    if not local:
        return None
    name = local[-1]
    draw = random_tokens(random.Random(name), opened.models[name].vocabulary_size)
    prompts = [draw(PROMPT_TOKENS) for _ in range(2)]
    return Reference(opened.engines[name], latency[name], prompts)


def mean_pace(paces: Sequence[float]) -> float:
    return float(np.mean(paces))
