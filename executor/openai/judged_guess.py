"""How far a server itself would have written what a call guesses, told by one prefill.

A server that tells how likely the tokens of a prompt are is given prompt and guess together. A
guessed token stands while no other is likelier at its place, so this is a test of greedy text. At
the first that falls the likeliest one is what the server would have written there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from executor.guarding import in_words
from executor.openai.server import Server
from executor.openai.server_faults import Patience, ServerError
from executor.openai.server_profile import PATHS, SALT, PromptScores
from executor.openai.server_scoring import (
    TopDistribution,
    log_probability,
    read_scores,
    told_distribution,
)

# Of two tokens so near to each other, in nats, rounding may choose either: a pass over many tokens
# and one over a single token do not round alike.
NEAR_TIE = 1e-3
# The likeliest token, and the one that it has to be told from.
TOPS = PromptScores("prompt_logprobs", 2)


@dataclass(frozen=True)
class AskedGuess:
    """What a server is asked.

    Attributes:
        fields: sent with every request of its engine, but for how it samples.
        salt: as in ``SALT``; empty: none.
    """

    model: str
    prompt: Sequence[int]
    guess: Sequence[int]
    fields: Mapping[str, Any] = field(default_factory=dict)
    salt: str = ""

    @property
    def ids(self) -> list[int]:
        return [*self.prompt, *self.guess]


@dataclass(frozen=True)
class Answer:
    """What a server says of a guess.

    Attributes:
        places: one for each token of the guess.
        after: the token that it wrote after the guess; None where it ended the text.
        cached_tokens: of prompt and guess; None where it does not say.
    """

    places: Sequence[TopDistribution]
    after: int | None
    cached_tokens: int | None


@dataclass(frozen=True)
class JudgedGuess:
    """What follows from it.

    Attributes:
        tokens: what the server writes first: as much of the guess as stands, and its own next token
            if that is known.
        kept: how many of them are of the guess.
        near_ties: places that were looked at where two tokens are within ``NEAR_TIE``.
    """

    tokens: tuple[int, ...]
    kept: int
    near_ties: int
    cached_tokens: int | None


@dataclass(frozen=True)
class Judging:
    """How one kind of server is asked."""

    path: str
    body: Callable[[AskedGuess], Any]
    read: Callable[[Any, AskedGuess], Answer]


async def judge(
    server: Server, patience: Patience, judging: Judging, asked: AskedGuess, ends: frozenset[int]
) -> JudgedGuess:
    """What ``server`` says of a guess.

    Raises:
        ServerError: it cannot be asked, or its answer does not hold what was asked for.
    """

    async def attempt() -> JudgedGuess:
        said = await server.fetch(judging.path, judging.body(asked))
        return judged(asked, read_answer(judging, said, asked), ends)

    return await patience.insist(attempt)


def judged(asked: AskedGuess, answer: Answer, ends: frozenset[int]) -> JudgedGuess:
    """``ends`` may end a text, so the server is left to write them itself."""
    tokens, near_ties = list[int](), 0
    following = answer.after
    for token, place in zip(asked.guess, answer.places, strict=True):
        near_ties += abs(place.lead) < NEAR_TIE
        if place.lead <= 0:
            following = _choice(place)
            break
        tokens.append(token)
    kept = len(tokens)
    if following is not None and following not in ends:
        tokens.append(following)
    return JudgedGuess(tuple(tokens), kept, near_ties, answer.cached_tokens)


def _choice(place: TopDistribution) -> int | None:
    """The likeliest token; None where two are."""
    is_alone = sum(value == place.tops[place.best] for value in place.tops.values()) == 1
    return int(place.best) if is_alone else None


def read_answer(judging: Judging, said: Any, asked: AskedGuess) -> Answer:
    """Raises ServerError: the answer does not hold what was asked for."""
    try:
        return judging.read(said, asked)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ServerError(f"not the log-probabilities of a guess ({in_words(error)})") from None


# vLLM


def _vllm_body(asked: AskedGuess) -> Any:
    salt = {SALT: asked.salt} if asked.salt else {}
    return {
        "model": asked.model,
        "prompt": asked.ids,
        "max_tokens": 1,
        **asked.fields,
        "temperature": 0.0,
        "prompt_logprobs": TOPS.top,
        "return_token_ids": True,
        **salt,
    }


def _vllm_answer(said: Any, asked: AskedGuess) -> Answer:
    """It does not look into its prefix cache for such a request."""
    places = read_scores(said, asked.ids, TOPS, len(asked.prompt))
    choice, usage = said["choices"][0], said.get("usage") or {}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    after = int(choice["token_ids"][-1]) if choice["finish_reason"] == "length" else None
    return Answer(places, after, cached)


# SGLang


def _sglang_body(asked: AskedGuess) -> Any:
    """Its cache is used up to ``logprob_start_len``; of the token there nothing is told."""
    salt = {"extra_key": asked.salt} if asked.salt else {}
    return {
        "input_ids": asked.ids,
        "sampling_params": {"temperature": 0.0, "max_new_tokens": 1},
        "return_logprob": True,
        "logprob_start_len": len(asked.prompt) - 1,
        "top_logprobs_num": TOPS.top,
        **asked.fields,
        **salt,
    }


def _sglang_answer(said: Any, asked: AskedGuess) -> Answer:
    about = said["meta_info"]
    pairs = zip(about["input_token_logprobs"], about["input_top_logprobs"], strict=True)
    told = [_sglang_place(own, tops) for own, tops in list(pairs)[1:]]
    if [place.drawn for place in told] != list(map(str, asked.guess)):
        raise ValueError("not of the tokens that were asked for")
    is_full = about["finish_reason"]["type"] == "length"
    after = int(about["output_token_logprobs"][-1][1]) if is_full else None
    return Answer(told, after, about.get("cached_tokens"))


def _sglang_place(own: Sequence[Any], tops: Sequence[Sequence[Any]]) -> TopDistribution:
    """Entries are a log-probability, a token and its text."""
    found = {str(token): log_probability(value) for value, token, *_ in [*tops, own]}
    return told_distribution(found, str(own[1]))


JUDGINGS: Mapping[str, Judging] = {
    "prompt_logprobs": Judging(PATHS["completions"], _vllm_body, _vllm_answer),
    "generate": Judging("../generate", _sglang_body, _sglang_answer),
}
