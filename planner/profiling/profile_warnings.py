"""What a latency profile is not to be trusted with, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from profiles.guessed_passes import GuessedTexts
from profiles.latency.profile import EngineProfile
from staircase.spec.engine_spec import EngineSpec, PromptLookupSpec

# Beyond this stated error a forecast says little.
LARGE_ERROR = 0.25
AGAIN = "measure again with 'staircase profile SCENARIO'"
RESTATES = (
    "the server cannot continue an answer: where a call goes on with one, its text is restated "
    "with the request to go on after it"
)


def latency_notes(engines: Mapping[str, EngineProfile]) -> list[str]:
    """Lines, once for engines that are one: large stated errors, and texts that are restated."""
    lines = []
    for engine in {one.prefill: one for one in engines.values()}.values():
        names = ", ".join(name for name, one in engines.items() if one == engine)
        lines += [f"warning: {names}: {words}" for words in _warnings(engine)]
        lines += [f"{names}: {RESTATES}"] if engine.restates else []
    return lines


def pass_notes(specs: Mapping[str, EngineSpec], engines: Mapping[str, EngineProfile]) -> list[str]:
    """A line for each of ``specs`` that guesses more than its profile in ``engines`` knows."""
    return [
        f"{name}: {words}"
        for name, spec in specs.items()
        if spec.prompt_lookup
        for words in _of_passes(1 + spec.prompt_lookup.tokens, engines[name].widest_pass)
    ]


def _of_passes(asked: int, measured: int) -> Iterator[str]:
    if measured == 1:
        yield (
            "what passes of several tokens take is not in the profile, so forecasts are too slow "
            f"by what prompt_lookup gains; {AGAIN}"
        )
    elif measured < asked:
        yield (
            f"passes of {asked} tokens, as prompt_lookup makes them, are beyond the {measured} "
            f"that were measured; {AGAIN}"
        )


def text_notes(
    lookups: Mapping[str, PromptLookupSpec], known: Mapping[str, GuessedTexts]
) -> list[str]:
    """A line if texts of some agents are guessed and it is not ``known`` in what passes."""
    names = ", ".join(agent for agent in lookups if agent not in known)
    words = (
        "how many tokens a pass gives with this prompt_lookup is not in the profile, so forecasts "
        f"are too slow by what it gains; {AGAIN}"
    )
    return [f"{names}: {words}"] if names else []


def _warnings(engine: EngineProfile) -> list[str]:
    parts = {"prefill": engine.prefill, "decode": engine.decode}
    return [
        f"seconds of {part} are known within {fit.stated_error:.1%} only, and forecasts no better; "
        "measure again while nothing else runs, or longer (profile.budget_s, --budget)"
        for part, fit in parts.items()
        if fit.stated_error > LARGE_ERROR
    ]
