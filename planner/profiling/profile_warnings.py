"""What a latency profile is not to be trusted with, in words."""

from __future__ import annotations

from collections.abc import Mapping

from profiles.latency.profile import EngineProfile
from staircase.spec.engine_spec import EngineSpec

# Beyond this stated error a forecast says little.
LARGE_ERROR = 0.25
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


def guess_notes(specs: Mapping[str, EngineSpec]) -> list[str]:
    """A line if some of ``specs`` guess, which no latency profile knows."""
    names = ", ".join(name for name, spec in specs.items() if spec.prompt_lookup)
    words = "what prompt_lookup gains is not in the profile, so forecasts are too slow by it"
    return [f"{names}: {words}"] if names else []


def _warnings(engine: EngineProfile) -> list[str]:
    parts = {"prefill": engine.prefill, "decode": engine.decode}
    return [
        f"seconds of {part} are known within {fit.stated_error:.1%} only, and forecasts no better; "
        "measure again while nothing else runs, or longer (profile.budget_s, --budget)"
        for part, fit in parts.items()
        if fit.stated_error > LARGE_ERROR
    ]
