"""What schedules would come to if nobody else were there: many at once, for a search to begin with.

    sketch = sketch_of(pipeline, engines, workload)      # None: there is no closed form
    figures = sketch.of(schedules)                       # arrays, by the name of the metric

Every agent is played by the closed form as if each of its calls had a replica to itself, sources
before their readers, and cancelled nowhere. For one request alone on two levels that is exact
(``simulator.analytic.closed_form``); under load, on shared devices, or where a debater's next round
overlaps with its last on the same engine, it is only a guide, to be followed by simulation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from simulator.analytic.candidates import Candidates, candidates_of
from simulator.analytic.closed_form import AloneTimes, Ints
from simulator.analytic.request_form import form_of
from simulator.analytic.source_levels import fixed_tokens, source_levels, source_ps
from simulator.core.cost import cost_of_profile
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.des.serial import SerialSetup
from simulator.engine import EngineSetup
from staircase.metrics.request_metrics import READING_RATE, Floats
from staircase.pipeline import Agent, Pipeline
from staircase.schedule import Layout, Schedule, normal
from staircase.timeline import PS_PER_S, to_ps
from staircase.workload import RequestShape, Workload

# So many requests, of a workload's shorter and longer ones, stand for all.
REQUESTS = 4
MANY_BLOCKS = 1 << 40


@dataclass(frozen=True)
class Sketch:
    """Requests, each alone on a pipeline's engines."""

    pipeline: Pipeline
    engines: Mapping[str, BatchingSetup]
    requests: Sequence[RequestShape]
    reading_rate: float = READING_RATE

    def of(self, schedules: Sequence[Schedule]) -> dict[str, Floats]:
        """The same of schedules, in their order.

        Of each only staircases, layout and who is not asked count; what is checked is as if it
        stood.
        """
        found: dict[str, Floats] = {}
        kinds: set[tuple[Layout, tuple[str, ...]]] = {(s.layout, s.without) for s in schedules}
        for layout, without in sorted(kinds):
            alike = [one.layout == layout and one.without == without for one in schedules]
            places = np.flatnonzero(alike).tolist()
            staircases = {
                agent.name: candidates_of(
                    [schedules[place].staircases.get(agent.name, normal()) for place in places]
                )
                for agent in self.pipeline.readers
            }
            for name, column in self._play(layout, staircases, without).items():
                found.setdefault(name, np.zeros(len(schedules)))[places] = column
        return found

    def _play(
        self, layout: Layout, staircases: Mapping[str, Candidates], without: Sequence[str]
    ) -> dict[str, Floats]:
        """Means over the requests, by the names of ``staircase.metrics.request_metrics`` and
        ``unread``.

        Args:
            staircases: by reading agent, as many of each.
        """
        each = [self._play_one(request, layout, staircases, without) for request in self.requests]
        return {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}

    def _play_one(
        self,
        request: RequestShape,
        layout: Layout,
        staircases: Mapping[str, Candidates],
        without: Sequence[str],
    ) -> dict[str, Floats]:
        silent = dict.fromkeys(without, 0)
        asked = replace(request, output_tokens={**request.output_tokens, **silent})
        there: dict[str, Ints] = {name: np.zeros((1, 2), dtype=np.int64) for name in without}
        times: dict[str, AloneTimes] = {}
        for agent in self.pipeline.order:
            if agent.reads:
                given = staircases[agent.name]
                times[agent.name], there[agent.name] = self._play_reader(
                    agent, asked, layout, given, there
                )
            elif agent.name not in without:
                there[agent.name] = source_ps(agent, self.engines[agent.engine], asked)
        return self._figures(request, times, without)

    def _play_reader(
        self,
        agent: Agent,
        request: RequestShape,
        layout: Layout,
        given: Candidates,
        there: Mapping[str, Ints],
    ) -> tuple[AloneTimes, Ints]:
        agents = [self.pipeline[name] for name in agent.reads]
        ready = [there[name] for name in agent.reads]
        sources = source_levels(agent, agents, ready, layout, request)
        form = form_of(
            agent, sources, self.engines[agent.engine], layout, request, self.reading_rate
        )
        tokens = min(request.output_tokens[agent.name], agent.max_tokens)
        own_ps = np.zeros((len(given), tokens + 2), dtype=np.int64)
        times = form.play(given, token_ps=own_ps[:, 1:-1])
        own_ps[:, -1] = times.completed_ps
        return times, own_ps

    def _figures(
        self, request: RequestShape, times: Mapping[str, AloneTimes], without: Sequence[str]
    ) -> dict[str, Floats]:
        answer = self.pipeline[self.pipeline.answer]
        last = times[answer.name]
        tokens = min(request.output_tokens[answer.name], answer.max_tokens)
        asked = [one for one in self.pipeline if not one.reads and one.name not in without]
        first = sum(fixed_tokens(request, agent) for agent in asked)
        heard = {name: self._heard(name, request, without) for name in times}
        shares = sum(1 - (1 - times[name].unread) * heard[name] for name in times) / len(times)
        own = sum(times[name].prefilled_tokens - self._sources_of(name, request) for name in times)
        return {
            "ttft_s": last.ttft_ps / PS_PER_S,
            "e2e_s": last.e2e_ps / PS_PER_S,
            "tpot_s": (last.e2e_ps - last.ttft_ps) / PS_PER_S / max(tokens - 1, 1),
            "smooth_start_s": last.smooth_start_ps / PS_PER_S,
            "stall_s": (last.smooth_start_ps - last.ttft_ps) / PS_PER_S,
            "prefilled_tokens": np.asarray(own + first, dtype=float),
            "unread": np.asarray(shares, dtype=float),
        }

    def _heard(self, name: str, request: RequestShape, without: Sequence[str]) -> float:
        """The share of the texts of an agent's sources that those who are asked write."""
        sources = [self.pipeline[source] for source in self.pipeline[name].reads]
        tokens = {s.name: min(request.output_tokens[s.name], s.max_tokens) for s in sources}
        whole = sum(tokens.values())
        return 1 - sum(tokens.get(silent, 0) for silent in without) / whole if whole else 1.0

    def _sources_of(self, name: str, request: RequestShape) -> int:
        """What ``AloneTimes`` counts of the prompts of an agent's sources."""
        sources = [self.pipeline[source] for source in self.pipeline[name].reads]
        return sum(fixed_tokens(request, source) for source in sources)


def sketch_of(
    pipeline: Pipeline,
    engines: Mapping[str, EngineSetup],
    workload: Workload,
    reading_rate: float = READING_RATE,
) -> Sketch | None:
    """None where an engine has no closed form, the answer reads nobody, there are inputs, peers or
    votes or branches, somebody thinks, or no request has every reader write something."""
    setups = {name: _replica_of(engines[name]) for name in pipeline.engines}
    known = {name: setup for name, setup in setups.items() if setup}
    if len(known) < len(setups) or not pipeline[pipeline.answer].reads:
        return None
    if (
        pipeline.inputs
        or pipeline.has_peers
        or pipeline.votes
        or pipeline.has_forks
        or any(request.thinks for request in workload.requests)
    ):
        return None
    requests = _typical(pipeline, workload.requests)
    return Sketch(pipeline, known, requests, reading_rate) if requests else None


def _replica_of(setup: EngineSetup) -> BatchingSetup | None:
    """With room for every call: a schedule that does not fit is told by its simulation."""
    if isinstance(setup, BatchingSetup):
        limits = setup.limits
        return replace(setup, limits=replace(limits, blocks=limits.blocks and MANY_BLOCKS))
    if isinstance(setup, SerialSetup):
        limits = Limits(max_num_seqs=1, blocks=MANY_BLOCKS, block_tokens=1)
        profile = setup.profile.decoding_at(setup.mean_pace)
        cost = cost_of_profile(profile, limits.max_num_batched_tokens, limits.max_num_seqs)
        return BatchingSetup(cost, limits, call_ps=to_ps(setup.profile.call_s))
    return None


def _typical(pipeline: Pipeline, requests: Sequence[RequestShape]) -> list[RequestShape]:
    """One of each share of the requests in which all readers write, by how much is written."""
    readers = [agent.name for agent in pipeline.readers]
    distinct = {
        repr(request): request
        for request in requests
        if all(request.output_tokens[name] for name in readers)
    }
    rising = sorted(distinct.values(), key=lambda request: sum(request.output_tokens.values()))
    count = min(REQUESTS, len(rising))
    return [rising[(2 * place + 1) * len(rising) // (2 * count)] for place in range(count)]
