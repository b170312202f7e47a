"""What a profile's budget left no time for, in words."""

from __future__ import annotations

from executor.measure.find_cache import LONGEST_PROMPT
from executor.measure.grid_points import Decode, Mixed, Prefill, Region, Wide
from profiles.latency.profile import EngineProfile


def unmeasured(
    region: Region, found: EngineProfile, looked: int, budget_s: float, least_s: float
) -> tuple[str, ...]:
    """Of ``region``, what ``found`` does not reach; empty if it was all measured.

    Args:
        looked: the longest prompt with which the prefix cache was looked for; 0 if it was not.
        least_s: what had passed when there was enough for a fit.
    """
    places = region.coarse()
    prefills = [place for place in places if isinstance(place, Prefill)]
    decodes = [place for place in places if isinstance(place, Decode)]
    reach, longest = found.measured_range, min(region.max_prompt_tokens, LONGEST_PROMPT)
    asked = {
        "new tokens": (reach.new_tokens, max(place.new_tokens for place in prefills)),
        "calls at once": (reach.batch, max(place.batch for place in decodes)),
        "tokens of context": (
            reach.context_tokens,
            max(place.all_context_tokens // place.batch for place in decodes),
        ),
        "tokens of prompt for finding the prefix cache": (looked, longest),
    }
    words = [f"{most:,} {what}, only {n:,}" for what, (n, most) in asked.items() if n < most]
    if any(isinstance(place, Mixed) for place in places) and not found.mixed_points:
        words.append("prefills beside decodes")
    widest = max((place.width for place in places if isinstance(place, Wide)), default=1)
    if found.widest_pass < widest:
        words.append(f"passes of {widest:,} tokens, only of {found.widest_pass:,}")
    if least_s > budget_s:
        words.append(f"anything within {budget_s:.3g} s: the least for a fit took {least_s:.3g} s")
    return tuple(words)
