"""Whether a simulation left the range in which an engine's profile was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from profiles.catalog import engine_profile
from profiles.latency.profile import EngineProfile
from staircase.spec.scenario import Scenario
from staircase.spec.simulated_spec import SimulatedSpec
from staircase.timeline import Span, Timeline


def profiled(scenario: Scenario, folder: Path) -> dict[str, tuple[SimulatedSpec, EngineProfile]]:
    """The simulated engines whose cost is a profile's; raises as ``profiles.catalog``."""
    return {
        name: (spec, engine_profile(spec.profile, spec.engine, folder))
        for name, spec in scenario.simulated.items()
        if isinstance(spec, SimulatedSpec) and spec.profile is not None
    }


def outside_range(
    engines: Mapping[str, tuple[SimulatedSpec, EngineProfile]], timelines: Iterable[Timeline]
) -> Iterator[str]:
    """What lies beyond, in words: new tokens of an iteration, context, sequences at once."""
    spans = [span for timeline in timelines for span in timeline.spans]
    for name, (spec, profile) in engines.items():
        own = [span for span in spans if span.engine == name]
        prefill = max((span.prefilled_tokens for span in own), default=0)
        context = max((span.prompt_tokens + span.made_tokens for span in own), default=0)
        at_once = min(-(-most_at_once(own) // spec.replicas), spec.max_num_seqs)
        for words in profile.outside(min(prefill, spec.max_num_batched_tokens), context, at_once):
            yield f"{name}: {words}"


def most_at_once(spans: Sequence[Span]) -> int:
    """The most that were between their start and their end."""
    changes = [(span.started_ps, 1) for span in spans] + [(span.ended_ps, -1) for span in spans]
    running = most = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most
