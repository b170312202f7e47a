"""Workloads as a scenario describes them: lengths, arrivals and common texts, drawn by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from simulator.item_draws import drawn_starts, without_unborn
from simulator.lengths import Floats, lengths_at, normal_scores, tied_normals
from simulator.update_draws import drawn_updates
from staircase.files import named_path
from staircase.pipeline import Pipeline
from staircase.prompt import query
from staircase.request_trace import TracedRequest, read_request_trace
from staircase.revisions.acceptance import EvenAcceptance
from staircase.revisions.updates import Update
from staircase.shared_texts import Parts, TextPart
from staircase.spec.workload_spec import (
    BallotsSpec,
    Length,
    PromptsSpec,
    RequestTraceSpec,
    WorkloadSpec,
)
from staircase.timeline import to_ps
from staircase.votes import DISCARDED, Ballot
from staircase.workload import RequestShape, Workload

T = TypeVar("T")


def workload_of(
    spec: WorkloadSpec, pipeline: Pipeline, folder: Path, replicate: int = 0
) -> Workload:
    """Seeded lengths and arrivals; each ``replicate`` of a seed has its own.

    Of a trace, replicate 0 has the rows themselves; others have rows drawn from it with
    replacement, at the trace's arrival times, unless rows have texts in common: drawn twice, they
    would have more.

    Args:
        folder: from which the paths in ``spec`` are counted.

    Raises:
        WorkloadError: a file of lengths or of a trace is wrong; names it and the line.
    """
    *seeds, last = np.random.SeedSequence(spec.seed, spawn_key=(replicate,)).spawn(9)
    draws = _Draws(spec, pipeline, folder, *(np.random.default_rng(seed) for seed in seeds))
    is_resampled = replicate > 0
    drawn = draws.traced(spec.trace, is_resampled) if spec.trace else draws.workload()
    return _with_acceptance(drawn, spec.acceptance, last)


@dataclass(frozen=True)
class Query:
    """A request's query.

    Attributes:
        parts: what it consists of that other requests have too; the rest is its own.
        answer: name of the text that the answer is to later requests; "" for none.
    """

    tokens: int
    parts: tuple[TextPart, ...] = ()
    answer: str = ""

    def parts_of(self, pipeline: Pipeline, answer_tokens: int) -> Parts:
        """Each agent has texts of its own, for its prompts say other things before them; but those
        of a template have the same."""
        if not self.parts and not self.answer:
            return {}
        templates = dict.fromkeys(agent.template for agent in pipeline)
        found = {query(name): _named(name, self.parts) for name in templates}
        if self.answer:
            name = pipeline.answer
            found[name] = _named(name, (TextPart(self.answer, answer_tokens),))
        return found


def _named(agent: str, parts: Sequence[TextPart]) -> tuple[TextPart, ...]:
    return tuple(TextPart(f"{agent}: {part.name}", part.tokens) for part in parts)


class Items(NamedTuple):
    """Of a request by agent: where the items of its text begin, or after how much reading its only
    one does."""

    starts: dict[str, list[int]]
    read_before: dict[str, int]


@dataclass(frozen=True)
class _Draws:
    """What is drawn of a workload, in streams apart: a change of one leaves the others."""

    spec: WorkloadSpec
    pipeline: Pipeline
    folder: Path
    for_queries: np.random.Generator
    for_outputs: np.random.Generator
    for_arrivals: np.random.Generator
    for_thoughts: np.random.Generator
    for_prompts: np.random.Generator
    for_ballots: np.random.Generator
    for_items: np.random.Generator
    for_updates: np.random.Generator

    def workload(self) -> Workload:
        spec = self.spec
        queries = self._queries() if spec.prompts is None else self._common_queries(spec.prompts)
        written, thought = self._written(spec.requests), self._thought(spec.requests)
        items, ballots = self._items(written), self._ballots(spec.requests)
        shapes = list(map(self._shape, queries, written, thought, items, ballots))
        if spec.rate_per_s is None:
            return Workload(shapes, spec.concurrency)
        shape = 1 / spec.burstiness**2
        gaps = self.for_arrivals.gamma(shape, 1 / (spec.rate_per_s * shape), spec.requests)
        return Workload(shapes, arrivals_ps=[to_ps(second) for second in np.cumsum(gaps)])

    def _queries(self) -> list[Query]:
        return [Query(tokens) for tokens in self._query_tokens(self.spec.requests)]

    def _query_tokens(self, count: int) -> list[int]:
        normals = self.for_queries.standard_normal(count)
        return [int(n) for n in lengths_at(normals, self.spec.query_tokens, self.folder)]

    def _common_queries(self, prompts: PromptsSpec) -> list[Query]:
        """Each is one of the pool, as likely as the others, behind the system prompt."""
        requests, distinct = self.spec.requests, prompts.distinct
        lengths = self._query_tokens(distinct or requests)
        asked: Sequence[int] = range(requests)
        if distinct is not None:
            asked = self.for_prompts.integers(distinct, size=requests).tolist()
        system = TextPart("system", prompts.system_tokens)
        pool = [
            Query(system.tokens + tokens, (system, TextPart(f"prompt {number}", tokens)))
            for number, tokens in enumerate(lengths)
        ]
        return [pool[number] for number in asked]

    def traced(self, trace: RequestTraceSpec, is_resampled: bool) -> Workload:
        rows = self._rows(trace)
        arrivals_ps = [round(row.arrival_ps / trace.speed) for row in rows]
        if is_resampled and not any(row.query for row in rows):
            rows = [rows[place] for place in self.for_arrivals.integers(len(rows), size=len(rows))]
        answers = np.array([row.output_tokens[self.pipeline.answer] for row in rows])
        written = self._written(len(rows), normal_scores(self.for_outputs, answers))
        known = [{**row.output_tokens, **own} for row, own in zip(rows, written, strict=True)]
        queries = [Query(row.query_tokens, row.query, row.answer) for row in rows]
        thought, items = self._thought(len(rows)), self._items(known)
        ballots = self._ballots(len(rows))
        shapes = list(map(self._shape, queries, known, thought, items, ballots))
        return Workload(shapes, arrivals_ps=arrivals_ps)

    def _rows(self, trace: RequestTraceSpec) -> list[TracedRequest]:
        agents = {agent.name for agent in self.pipeline if not agent.vote}
        agents -= self._by_agent(self.spec.output_tokens).keys()
        path = named_path(trace.file, self.folder)
        rows = read_request_trace(path, trace.format, self.pipeline.answer, agents)
        return rows[: self.spec.traced_requests]

    def _written(self, requests: int, known: Floats | None = None) -> list[dict[str, int]]:
        """What the agents in ``output_tokens`` write; ``known`` as in ``tied_normals``."""
        given = self._by_agent(self.spec.output_tokens)
        names = list(given)
        normals = tied_normals(self.for_outputs, self.spec.correlation, requests, len(names), known)
        return self._lengths(names, given, normals)

    def _thought(self, requests: int) -> list[dict[str, int]]:
        """What the agents in ``thinking_tokens`` think, tied to nothing."""
        given = self._by_agent(self.spec.thinking_tokens)
        names = list(given)
        normals = self.for_thoughts.standard_normal((requests, len(names)))
        return self._lengths(names, given, normals)

    def _by_agent(self, given: Mapping[str, T]) -> dict[str, T]:
        """What is ``given`` of each agent, by its own name or its template's."""
        said = {
            agent.name: [given[key] for key in agent.keys if key in given]
            for agent in self.pipeline
        }
        return {name: some[0] for name, some in said.items() if some}

    def _ballots(self, requests: int) -> list[dict[str, Ballot]]:
        """Drawn whether or not a schedule asks for them, so schedules are compared on the same."""
        given = self._by_agent(self.spec.ballots)
        drawn = self.for_ballots.random((requests, len(given), 3)).tolist()
        return [
            {
                name: _ballot(spec, *own)
                for (name, spec), own in zip(given.items(), row, strict=True)
            }
            for row in drawn
        ]

    def _items(self, written: Sequence[Mapping[str, int]]) -> list[Items]:
        """Of each request."""
        found = [Items({}, {}) for _ in written]
        for name, spec in self._by_agent(self.spec.items).items():
            if spec.read is not None:
                for items, read in zip(
                    found, self._item_lengths(spec.read, len(found)), strict=True
                ):
                    items.read_before[name] = read
                continue
            counts = self._item_lengths(spec.count, len(written))
            before = self._item_lengths(spec.before, len(written))
            rows = zip(found, counts, before, written, strict=True)
            for items, count, first, lengths in rows:
                starts = drawn_starts(self.for_items, count, lengths[name], spec.sigma, first)
                items.starts[name] = starts
        return found

    def _item_lengths(self, length: Length | None, requests: int) -> list[int]:
        """One a request; 0 where nothing is said."""
        if length is None:
            return [0] * requests
        normals = self.for_items.standard_normal(requests)
        return [int(n) for n in lengths_at(normals, length, self.folder)]

    def _updates(self, written: Mapping[str, int]) -> dict[str, tuple[Update, ...]]:
        draws, given, folder = self.for_updates, self.spec.updates, self.folder
        return {
            one.name: drawn_updates(draws, one.arrival, given[one.name], folder, written[one.name])
            for one in self.pipeline.inputs
            if one.arrival and one.name in given
        }

    def _lengths(
        self, names: Sequence[str], given: Mapping[str, Length], normals: Floats
    ) -> list[dict[str, int]]:
        """Of each request by name; ``normals`` has a row for each request, a column for a name."""
        columns = {
            name: lengths_at(own, given[name], self.folder).tolist()
            for name, own in zip(names, normals.T, strict=True)
        }
        return [{name: column[n] for name, column in columns.items()} for n in range(len(normals))]

    def _shape(
        self,
        asked: Query,
        lengths: dict[str, int],
        thought: dict[str, int],
        items: Items,
        ballots: dict[str, Ballot],
    ) -> RequestShape:
        written = without_unborn(self.pipeline, lengths, items.starts)
        # A prompt is never empty.
        models = [agent for agent in self.pipeline if agent.has_engine]
        fixed = {query(agent.template): max(1, asked.tokens) for agent in models}
        parts = asked.parts_of(self.pipeline, written.get(self.pipeline.answer, 0))
        updates, ends_with = self._updates(written), self.spec.ends_with
        shape = RequestShape(
            fixed, written, ends_with, thought, parts, ballots, items.starts, updates
        )
        return replace(shape, read_before_item=items.read_before)


def _with_acceptance(
    workload: Workload, rate: float | None, seed: np.random.SeedSequence
) -> Workload:
    if rate is None:
        return workload
    seeds = seed.generate_state(len(workload.requests)).tolist()
    requests = [
        replace(request, acceptance=EvenAcceptance(rate, own))
        for request, own in zip(workload.requests, seeds, strict=True)
    ]
    return replace(workload, requests=requests)


def _ballot(spec: BallotsSpec, flag: float, right: float, wrong: float) -> Ballot:
    """Three draws from [0, 1)."""
    if flag < spec.flagged:
        return DISCARDED
    if right < spec.right:
        return Ballot("right", is_right=True)
    return Ballot(f"wrong {int(wrong * spec.wrong_answers) + 1}", is_right=False)
