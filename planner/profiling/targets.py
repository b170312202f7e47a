"""A scenario's real engines as something to be measured."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence

from executor.engine import Engine
from executor.measure.measurements import Target
from executor.opened_engines import OpenedEngines
from profiles.store import content_hash, provenance_of_now
from staircase.spec.engine_spec import EngineSpec, OpenAISpec
from staircase.spec.scenario import ProfileSpec

# Letters of a made-up word for a server that is sent text.
WORD_LETTERS = 5


def target_of(
    opened: OpenedEngines, name: str, spec: EngineSpec | OpenAISpec, how: ProfileSpec, seed: int = 0
) -> Target:
    """Engine ``name``; its prompts are random, so that no cache knows them."""
    rng = random.Random(f"{seed} {name}")
    if isinstance(spec, OpenAISpec):
        engine = opened.remote[name]
        return Target(
            engine,
            _words(engine, rng),
            how.max_prompt_tokens,
            min(how.max_batch, spec.max_concurrency),
            is_remote=True,
            reports_cached=engine.reports_cached,
            counts_tokens=engine.tokenizer is not None,
            shares_headers=not engine.is_salted,
        )
    longest_beside = min(how.max_prompt_tokens, spec.max_num_batched_tokens - spec.slots)
    return Target(
        opened.engines[name],
        random_tokens(rng, opened.models[name].vocabulary_size),
        how.max_prompt_tokens,
        min(how.max_batch, spec.slots),
        mixed_tokens=longest_beside if spec.slots > 1 else 0,
        widest_pass=widest_pass(spec),
    )


def widest_pass(spec: EngineSpec) -> int:
    """The token that is known, and a guess."""
    return 1 + (spec.prompt_lookup.tokens if spec.prompt_lookup else 0)


def random_tokens(rng: random.Random, vocabulary_size: int) -> Callable[[int], list[int]]:
    return lambda tokens: [rng.randrange(vocabulary_size) for _ in range(tokens)]


def _words(engine: Engine, rng: random.Random) -> Callable[[int], list[int]]:
    """A word has a token or more."""

    def draw(tokens: int) -> list[int]:
        words = (
            "".join(rng.choices(string.ascii_lowercase, k=WORD_LETTERS)) for _ in range(tokens)
        )
        return engine.encode(" ".join(words))[:tokens]

    return draw


# Keys of an engine that have no say in how long a pass takes; of ``prompt_lookup`` how wide it is.
UNTIMED = {"format", "api_key_env", "seed", "scored_by", "prompt_lookup", "guesses"}


def key_of(spec: EngineSpec | OpenAISpec, how: ProfileSpec, beside: Sequence[str] = ()) -> str:
    """Engines with the same key are measured once, and go on with each other's samples.

    ``beside`` are the engines that are busy meanwhile. Not in it: what does not change what is
    measured, as how long it may take, or what is drawn where a model samples.
    """
    now = provenance_of_now()
    asked = spec.model_dump(mode="json", exclude=UNTIMED)
    if isinstance(spec, EngineSpec) and spec.prompt_lookup:
        asked["widest_pass"] = widest_pass(spec)
    limits = how.model_dump(mode="json", include={"max_prompt_tokens", "max_batch"})
    return content_hash([asked, limits, list(beside), now.machine, now.python, dict(now.packages)])
