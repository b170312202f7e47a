"""Fits corrections of a latency profile to runs on the real engines.

The same requests are played on the simulator, and parts of both timelines are compared: by
schedule, the time to the first token and to the last, and by agent, from a call's submission to its
first token and from there on by token. Parts depend on the parameters almost linearly, so a few
steps of Gauss and Newton find them; slopes come from playing again with each parameter a little
larger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from planner.tuning.pace import mean_pace
from planner.tuning.parts import Part, parts_of
from planner.tuning.run_log import PlayedRun, shapes
from profiles.latency.profile import EngineProfile, LatencyProfile
from profiles.latency.tuning import Correction, fit_seconds
from profiles.surface import Floats
from simulator.profile_forecaster import ProfileForecaster
from staircase.schedule import Schedule
from staircase.workload import RequestShape, Workload

STEPS = 3
# Of a parameter, for its slope.
CHANGE = 0.05
PARAMETERS = 4
LOWEST = (0.05, 0.05, 1.0, 0.0)


@dataclass(frozen=True)
class Compared:
    """Requests that one schedule played in one round, and what parts of them took at pace 1."""

    round: int
    name: str
    schedule: Schedule
    requests: Sequence[RequestShape]
    measured: Mapping[Part, float]


def fit_corrections(
    forecaster: ProfileForecaster, runs: Sequence[PlayedRun]
) -> dict[str, Correction]:
    """By engine; engines with equal profiles have equal corrections.

    Args:
        forecaster: with the measured profile.
        runs: of any rounds; their paces are taken off.
    """
    compared = list(compare_runs(forecaster, runs))
    model = Model(forecaster)
    values, lowest = model.start, np.array(LOWEST * len(model.groups))
    for _ in range(STEPS):
        values = _improved(model, compared, values, lowest)
    return model.corrections(values)


def _improved(model: Model, compared: Sequence[Compared], values: Floats, lowest: Floats) -> Floats:
    forecast = model.parts(compared, values)
    known = [part for one in compared for part in one.measured if part in forecast]
    start = _column(forecast, known)
    slopes = []
    for place in range(len(values)):
        changed = model.parts(compared, values + CHANGE * np.eye(len(values))[place])
        # A part that is not there any more says nothing of a slope.
        slopes.append((_column({**forecast, **changed}, known) - start) / CHANGE)
    measured = np.array([part for one in compared for part in _found(one.measured, forecast)])
    return fit_seconds(measured, start, np.array(slopes).T, values, lowest)


def _found(measured: Mapping[Part, float], forecast: Mapping[Part, float]) -> Iterator[float]:
    return (seconds for part, seconds in measured.items() if part in forecast)


def _column(parts: Mapping[Part, float], known: Sequence[Part]) -> Floats:
    return np.array([parts[part] for part in known])


class Model:
    """Forecasts with four parameters for each group of engines with equal profiles.

    ``call_s`` is counted in prefills of a token, so that a small step is small in all of them.
    """

    def __init__(self, forecaster: ProfileForecaster) -> None:
        self._forecaster = forecaster
        self.groups: dict[EngineProfile, list[str]] = defaultdict(list)
        for name in forecaster.pipeline.engines:
            self.groups[forecaster.latency[name]].append(name)
        self._units = [profile.prefill_s(1, 0) for profile in self.groups]
        self.start = self.values(as_measured(forecaster.latency))

    def corrections(self, values: Floats) -> dict[str, Correction]:
        each = values.reshape(-1, PARAMETERS).tolist()
        return {
            name: Correction(prefill, decode, contention, call * unit)
            for names, unit, (prefill, decode, contention, call) in zip(
                self.groups.values(), self._units, each, strict=True
            )
            for name in names
        }

    def values(self, corrections: Mapping[str, Correction]) -> Floats:
        """The parameters that ``corrections`` are made of."""
        firsts = [corrections[names[0]] for names in self.groups.values()]
        return np.array(
            [
                value
                for one, unit in zip(firsts, self._units, strict=True)
                for value in (one.prefill, one.decode, one.contention, one.call_s / unit)
            ]
        )

    def parts(self, compared: Sequence[Compared], values: Floats) -> dict[Part, float]:
        latency = corrected(self._forecaster.latency, self.corrections(values))
        forecaster = replace(self._forecaster, latency=latency)
        found: dict[Part, float] = {}
        for one in compared:
            # Who has a device's first turn depends on what was before: a request goes ahead.
            requests = [one.requests[0], *one.requests]
            played = forecaster.play(one.schedule, Workload(requests)).timelines[1:]
            found |= parts_of(one.round, one.name, forecaster.pipeline.answer, played)
        return found


def as_measured(latency: LatencyProfile) -> dict[str, Correction]:
    """Those that change nothing."""
    return {
        name: Correction(1.0, 1.0, profile.contention, profile.call_s)
        for name, profile in latency.engines.items()
    }


def corrected(latency: LatencyProfile, corrections: Mapping[str, Correction]) -> LatencyProfile:
    """Engines without a correction stay as they are."""
    engines = {
        name: profile.corrected(corrections[name]) if name in corrections else profile
        for name, profile in latency.engines.items()
    }
    return replace(latency, engines=engines)


def compare_runs(forecaster: ProfileForecaster, runs: Sequence[PlayedRun]) -> Iterator[Compared]:
    """By round and schedule."""
    groups: dict[tuple[int, str], list[int]] = defaultdict(list)
    requests = shapes(forecaster.pipeline, runs)
    for place, run in enumerate(runs):
        groups[run.round, run.name].append(place)
    answer = forecaster.pipeline.answer
    for (number, name), places in groups.items():
        lines = [runs[place].timeline for place in places]
        pace = mean_pace([run.pace for run in runs if run.round == number])
        parts = parts_of(number, name, answer, lines)
        measured = {part: seconds / pace for part, seconds in parts.items()}
        schedule = runs[places[0]].schedule
        yield Compared(number, name, schedule, [requests[place] for place in places], measured)
