"""What a reader gains by the choice, in a sentence; and what bounds it where nothing is gained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.analytic.lower_bound import Stage
from staircase.metrics.request_metrics import Summary
from staircase.pipeline import Agent
from staircase.timeline import Timeline, to_s

# Shares of normal's smooth start below which nobody would notice a gain.
NOTHING = 0.02
# A source that ends so much later than the next one is what the others wait for.
MUCH_LATER = 1.25
# An answer that is read in so small a share of the smooth start leaves nothing to gain.
SHORT = 0.25
USUAL = ("smooth_start_s", "e2e_s")


@dataclass(frozen=True)
class ReaderGain:
    """The choice beside ``normal`` for somebody who reads at a given rate.

    Attributes:
        sentence: what such a reader gains, in words.
        saved: share of normal's mean smooth start; below 0 if the choice starts later.
        bounds: what bounds the gain, in words; told where nothing is gained.
    """

    sentence: str
    saved: float
    bounds: tuple[str, ...] = ()

    @staticmethod
    def of(
        reading_rate: float,
        normal: Mapping[str, Summary],
        choice: Mapping[str, Summary],
        bounds: Sequence[str],
    ) -> ReaderGain:
        """Of both schedules' metrics; where there are inputs, times count from their end."""
        has_input = "start_after_input_s" in normal
        start, end = ("start_after_input_s", "last_after_input_s") if has_input else USUAL
        since, when = ("", _when) if has_input else ("after ", _time)
        before_s, after_s = normal[start].mean, choice[start].mean
        saved = 1 - after_s / before_s if before_s else 0.0
        if saved < NOTHING:
            words = _nothing(reading_rate, since + when(after_s), when(before_s), bounds)
            return ReaderGain(words, saved, tuple(bounds))
        last = _change(normal[end].mean, choice[end].mean)
        words = (
            f"Somebody who reads {reading_rate:g} tokens/s can on average start "
            f"{_earlier(before_s, after_s)}, {since}{when(after_s)} instead of "
            f"{when(before_s)}, and never waits; the last token comes {last}."
            f"{_taken_back(choice)}"
        )
        return ReaderGain(words, saved, tuple(bounds))


def _nothing(reading_rate: float, after: str, before: str, bounds: Sequence[str]) -> str:
    why = f": {'; '.join(bounds)}" if bounds else ""
    return (
        f"Somebody who reads {reading_rate:g} tokens/s gains nothing: on average a smooth start "
        f"{after} with the choice, {before} with normal{why}."
    )


def _taken_back(choice: Mapping[str, Summary]) -> str:
    fell = choice["retracted_tokens"].mean if "retracted_tokens" in choice else 0.0
    return f" {fell:.3g} tokens that were shown are taken back on average." if fell > 0 else ""


def _earlier(before_s: float, after_s: float) -> str:
    """As a share, where there is one."""
    if after_s < 0:
        return f"{_time(before_s - after_s)} earlier"
    return f"{1 - after_s / before_s:.0%} earlier"


def _when(seconds: float) -> str:
    """Where the input counts."""
    side = "before" if seconds < 0 else "after"
    return f"{_time(abs(seconds))} {side} the end of the input"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def _change(normal_s: float, choice_s: float) -> str:
    share = choice_s / normal_s - 1
    if abs(share) < NOTHING:
        return "at the same time"
    return f"{abs(share):.0%} {'later' if share > 0 else 'earlier'}"


def bounds_of(stage: Stage, lines: Sequence[Timeline], reading_rate: float) -> Iterator[str]:
    """What keeps a reader from gaining, seen in ``normal``'s timelines."""
    reader = stage.pipeline[stage.pipeline.answer]
    answered = [line for line in lines if line.answer_ps]
    if reader.reads and answered:
        yield from _shared_device(stage, reader)
        yield from _slowest_source(reader, answered)
        yield from _short_answer(answered, reading_rate)


def _shared_device(stage: Stage, reader: Agent) -> Iterator[str]:
    own = _device(stage, reader)
    sharing = [name for name in reader.reads if _device(stage, stage.pipeline[name]) == own]
    if sharing:
        names = ", ".join(sharing)
        yield f"{reader.name} shares its device with {names}, so what it writes early delays them"


def _device(stage: Stage, agent: Agent) -> str:
    """Engines without a named device have one of their own."""
    return getattr(stage.setups.get(agent.engine), "device", None) or f"engine {agent.engine}"


def _slowest_source(reader: Agent, lines: Sequence[Timeline]) -> Iterator[str]:
    ends = {name: _mean_end_s(lines, name) for name in reader.reads}
    *others, (slowest, last_s) = sorted(ends.items(), key=lambda entry: entry[1])
    if others and last_s > MUCH_LATER * others[-1][1]:
        yield (
            f"{slowest} is the slowest source: it ends after {_time(last_s)}, the others after "
            f"{_time(others[-1][1])}"
        )


def _short_answer(lines: Sequence[Timeline], reading_rate: float) -> Iterator[str]:
    reading_s = float(np.mean([len(line.answer_ps) for line in lines])) / reading_rate
    last_s = to_s(float(np.mean([line.answer_ps[-1] - line.arrival_ps for line in lines])))
    if reading_s < SHORT * last_s:
        yield (
            f"the answer is short: it is read in {_time(reading_s)}, and starting early saves "
            f"no more than that of {_time(last_s)}"
        )


def _mean_end_s(lines: Sequence[Timeline], agent: str) -> float:
    ends = [
        max((s.ended_ps for s in line.spans if s.agent == agent), default=line.arrival_ps)
        - line.arrival_ps
        for line in lines
    ]
    return to_s(float(np.mean(ends)))
